// The connection: kept open, and when it is lost, looked for again.

const SLOWEST_MS = 8000;

let socket = null;
let wake = () => {};

/** Send a message, if there is a connection; returns whether there is one. */
export function send(message) {
  if (socket?.readyState !== WebSocket.OPEN) return false;
  socket.send(JSON.stringify(message));
  return true;
}

/** Do not wait any longer for the next try. */
export function tryNow() {
  wake();
}

export function hangUp() {
  socket?.close();
}

/**
 * Stay connected until `mayConnect` returns false.
 *
 * `onState` gets "connecting", "live", "offline", or "refused" with the server's reason: then only `tryNow` tries again.
 */
export async function stayConnected({ mayConnect, onOpen, onMessage, onState }) {
  addEventListener("online", tryNow);
  for (let failures = 0; ; failures++) {
    onState("connecting");
    let closed = { code: 0, reason: "" };
    try {
      if (!(await mayConnect())) return;
      closed = await connection(() => { failures = 0; onState("live"); onOpen(); }, onMessage);
    } catch {
      // The server cannot be reached.
    }
    // 41xx is the server's word for "do not come back".
    const isRefused = closed.code >= 4100 && closed.code < 4200;
    onState(isRefused ? "refused" : "offline", closed.reason);
    await pause(isRefused ? Infinity : failures);
  }
}

function connection(onOpen, onMessage) {
  const url = new URL("/socket", location);
  url.protocol = url.protocol.replace("http", "ws");
  return new Promise(resolve => {
    socket = new WebSocket(url);
    socket.onopen = onOpen;
    socket.onmessage = event => onMessage(JSON.parse(event.data));
    socket.onclose = resolve;
  });
}

/** Wait, longer after each failure and never as long as the others: they lost the same server at the same time. */
function pause(failures) {
  return new Promise(resolve => {
    wake = resolve;
    if (failures !== Infinity) setTimeout(resolve, Math.random() * Math.min(SLOWEST_MS, 500 * 2 ** failures));
  });
}
