/** A connection that comes back, with what was missed. The wire: docs/protocol.md; what this offers: client.d.ts. */

const MAX_WAITING = 100;
const MAX_BURST = 40; // after `ready`: servers count them
const MAX_JOBS = 200;
const MAX_HEADER = 64;

const TIMING_MS = {
  first: 500, slowest: 20_000, // between tries
  ready: 15_000, stable: 5_000,
  quiet: 20_000, pong: 10_000, soonPong: 5_000,
  answer: 10_000, burst: 2_000, save: 300,
};

const keysInUse = new Set();

export function hasEnded(job) {
  return /^(succeeded|failed|timeout|cancelled|lost)$/.test(job?.state);
}

export function connect(url, { auth, WebSocket = globalThis.WebSocket, storage = pageStorage(), timing } = {}) {
  if (!WebSocket) throw new Error("no WebSocket here: give a class as option");
  const address = new URL(url, globalThis.location?.href);
  address.protocol = address.protocol.replace("http", "ws");
  const ms = { ...TIMING_MS, ...timing };

  const handlers = new Set();
  const asks = new Set(); // cancels and reads: sent again on each connection
  let jobs = new Map();
  let waiting = [];
  let requests = 0;

  let ws, key, position, pageEvents, burstTimer, saveTimer;
  let attempt = 0; // what was begun in an earlier one is void
  let timer; // until ready, ping, pong, or the next try
  let failures, hasRefreshed, readyAt, drainMs, heardAt, isPinged;

  const socket = {
    state: "closed",
    user: undefined,
    on,
    send,
    connect: () => (socket.state === "offline" ? open() : start()),
    close: () => stop({ code: 1000, reason: "" }),
    jobs: {
      list: () => [...jobs.values()].sort((a, b) => b.queued_at - a.queued_at),
      get: id => jobs.get(id),
      watch(id, handler) {
        if (jobs.has(id)) call(handler, jobs.get(id));
        return on("job", job => job.id === id && handler(job));
      },
      cancel,
      read,
    },
  };
  start();
  return socket;

  function on(name, handler) {
    const entry = { name, handler };
    handlers.add(entry);
    return () => void handlers.delete(entry);
  }

  function emit(name, ...values) {
    for (const entry of [...handlers]) {
      if (entry.name === name && handlers.has(entry)) call(entry.handler, ...values);
    }
  }

  function become(state, why) {
    socket.state = state;
    emit("state", state, why);
  }

  // The connection

  function start() {
    if (socket.state !== "closed") return;
    key = `qrsocket:${address}`;
    while (keysInUse.has(key)) key += "+"; // two sockets of a page have two positions
    keysInUse.add(key);
    position ??= load();
    failures = hasRefreshed = 0;
    pageEvents = new AbortController();
    const listen = (name, handler) => globalThis.addEventListener?.(name, handler, { signal: pageEvents.signal });
    listen("pagehide", save);
    listen("online", hurry);
    listen("offline", () => socket.state !== "offline" && lose(ours("offline")));
    listen("visibilitychange", () => (document.visibilityState === "visible" ? hurry() : save()));
    open();
  }

  async function open() {
    const mine = ++attempt;
    readyAt = Infinity;
    drainMs = undefined;
    setTimer(ms.ready, () => lose(ours("timeout")));
    become("connecting");
    try {
      const { epoch, offset } = position ?? {};
      const hello = "!hello\n" + JSON.stringify({ epoch, offset, auth: await Promise.resolve().then(auth) });
      if (mine !== attempt) return;
      const opened = (ws = new WebSocket(address.href, "qrsocket.v1"));
      opened.binaryType = "arraybuffer";
      opened.onopen = () => opened.send(hello);
      opened.onmessage = ({ data }) => opened === ws && receive(data);
      opened.onclose = ({ code, reason }) => opened === ws && lose({ code, reason });
      opened.onerror = () => {}; // a close follows
    } catch (error) {
      if (mine === attempt) lose(ours(String(error?.message ?? error)));
    }
  }

  /** Waits for no close: a dead WebSocket takes minutes. */
  function drop() {
    const left = ws;
    ws = undefined;
    attempt++;
    clearTimeout(timer);
    clearTimeout(burstTimer);
    left?.close(1000);
  }

  function lose(why) {
    drop();
    if (why.code >= 4100 && why.code < 4200) return stop(why);
    if (performance.now() - readyAt >= ms.stable) failures = hasRefreshed = 0;
    let wait = Math.random() * Math.min(ms.slowest, ms.first * 2 ** failures++);
    if (drainMs >= 0) wait = drainMs;
    else if (why.code === 4001 && !hasRefreshed) hasRefreshed = 1, (wait = 0);
    setTimer(wait, open);
    become("offline", why);
  }

  function stop(why) {
    if (socket.state === "closed") return;
    drop();
    pageEvents.abort();
    save();
    keysInUse.delete(key);
    socket.state = "closed";
    forget("closed");
    emit("state", "closed", why);
  }

  /** What waits was meant for another user, or for nobody now. */
  function forget(error) {
    for (const ask of [...asks]) ask.fail(new Error(error));
    for (const [request] of waiting.splice(0)) emit("error", { error, request });
  }

  function setTimer(wait, then) {
    clearTimeout(timer);
    timer = setTimeout(then, wait);
  }

  function watch(wait) {
    setTimer(wait, () => {
      if (isPinged) return lose(ours("no answer"));
      const quiet = performance.now() - heardAt;
      quiet < ms.quiet ? watch(ms.quiet - quiet) : ping(ms.pong);
    });
  }

  function ping(patience) {
    ws.send("!ping\n{}");
    isPinged = true;
    watch(patience);
  }

  function hurry() {
    if (socket.state === "ready") ping(ms.soonPong);
    else if (socket.state === "offline") open();
  }

  // Receiving

  function receive(frame) {
    heardAt = performance.now();
    isPinged = false;
    const isText = typeof frame === "string";
    const cut = isText ? frame.indexOf("\n") : new Uint8Array(frame).indexOf(10);
    if (cut < 0 || cut > MAX_HEADER) return;
    const header = isText ? frame.slice(0, cut) : String.fromCharCode(...new Uint8Array(frame, 0, cut));
    const [isOurs, name, offset] = /^(?:!(\w+) ?)?(\d*)$/.exec(header) ?? [];
    const body = frame.slice(cut + 1);
    const json = isText ? parse(body) : undefined;
    if (name) isObject(json) && control(name, json, +offset);
    else if (isOurs !== undefined && socket.state === "ready") {
      deliver(+offset, () => emit("message", json === undefined ? body : json, { offset: +offset || undefined }));
    }
  }

  /** Moves on when the work is done: after a reload in the middle, it comes again. */
  function deliver(offset, work) {
    const here = offset && position?.user === socket.user && position;
    if (here && offset <= here.offset) return;
    work();
    if (!here) return;
    here.offset = offset;
    saveTimer ??= setTimeout(save, ms.save);
  }

  function control(name, body, offset) {
    if (name === "ready") beReady(body);
    else if (name === "error") fail(body);
    else if (socket.state !== "ready") return;
    else if (name === "job") {
      deliver(offset, () => take(body.job));
      for (const ask of [...asks]) if (ask.job === body.job?.id) ask.see(body.request);
    } else if (name === "chunk") {
      for (const ask of asks) if (ask.job === body.chunk?.job) ask.add?.(body.chunk);
    } else if (name === "gap") {
      moveTo(body);
      if (isOpen()) ws.send("!jobs\n{}"); // one may have ended unheard
      asks.forEach(tell);
      emit("gap");
    } else if (name === "jobs") {
      for (const job of replaceJobs(body.jobs)) emit("job", job);
      for (const ask of [...asks]) ask.see();
    } else if (name === "draining" && body.retry_after >= 0) drainMs = Math.min(body.retry_after, 600) * 1000;
  }

  function beReady(body) {
    const before = socket.user;
    const user = (socket.user = body.user ?? null);
    // For nobody nothing is kept: each connection is another one.
    const isGap = !body.recovered && (user === null ? before === null : position?.user === user);
    moveTo(body);
    if (before !== undefined && before !== user) {
      jobs.clear();
      forget("the user has changed");
    }
    const news = replaceJobs(body.jobs);
    readyAt = heardAt;
    watch(ms.quiet);
    socket.state = "ready";
    for (const ask of [...asks]) ask.see();
    asks.forEach(tell);
    sendWaiting();

    const mine = attempt;
    const tellPage = (...event) => mine === attempt && emit(...event); // not when a handler has closed it
    tellPage("state", "ready");
    if (isGap) tellPage("gap");
    for (const job of news) tellPage("job", job);
  }

  function fail({ error, request = null }) {
    const ask = [...asks].find(each => each.request === request);
    ask ? ask.fail(new Error(error)) : emit("error", { error, request });
  }

  // Sending

  function send(data) {
    if (socket.state === "closed") throw new Error("closed");
    const request = String(++requests);
    const frame = framed(request, data);
    if (isOpen() && !waiting.length) ws.send(frame);
    else if (waiting.length < MAX_WAITING) waiting.push([request, frame]);
    else throw new Error(`${MAX_WAITING} messages wait already`);
    return request;
  }

  function sendWaiting() {
    clearTimeout(burstTimer);
    for (const [, frame] of waiting.splice(0, MAX_BURST)) ws.send(frame);
    if (waiting.length) burstTimer = setTimeout(sendWaiting, ms.burst);
  }

  function isOpen() {
    return socket.state === "ready" && ws.readyState === 1;
  }

  // Jobs

  function isNews(job) {
    return isObject(job) && !(jobs.get(job.id)?.seq >= job.seq);
  }

  /** Returns the news, oldest first. */
  function replaceJobs(list) {
    const told = Array.isArray(list) ? list.filter(isObject).reverse() : [];
    const news = told.filter(isNews);
    jobs = new Map(told.map(job => [job.id, isNews(job) ? job : jobs.get(job.id)]));
    return news;
  }

  function take(job) {
    if (!isNews(job)) return;
    jobs.set(job.id, job);
    if (jobs.size > MAX_JOBS) jobs.delete([...jobs.values()].find(hasEnded)?.id);
    emit("job", job);
  }

  function begin(ask) {
    ask.request = String(++requests);
    if (socket.state === "closed") return ask.fail(new Error("closed"));
    asks.add(ask);
    tell(ask);
  }

  function tell({ name, job, after, request }) {
    if (isOpen()) ws.send(`!${name}\n` + JSON.stringify({ job, after, request }));
  }

  function cancel(job) {
    return new Promise((resolve, reject) => {
      const end = (settle, value) => {
        clearTimeout(timeout);
        asks.delete(ask);
        settle(value);
      };
      const ask = {
        name: "cancel",
        job,
        fail: error => end(reject, error),
        see(request) {
          const known = jobs.get(job);
          if (request === ask.request || known?.cancelling || hasEnded(known)) end(resolve, known);
        },
      };
      const timeout = setTimeout(() => ask.fail(new Error("no answer")), ms.answer);
      begin(ask);
    });
  }

  async function* read(job, { after = 0, trimmed = "…", anew, signal } = {}) {
    signal?.throwIfAborted();
    const held = new Map(); // pieces not read yet, by number
    let firstKept = 0;
    let askedAfter = after;
    let failure, timeout, wake;
    const ask = {
      name: "read",
      job,
      after,
      fail: error => ask.see((failure ??= { error })),
      see: () => wake?.(),
      add({ n, text, gap, anew }) {
        if (n > ask.after) held.set(n, { text, anew });
        if (gap) firstKept = n;
        ask.see();
      },
    };
    const abort = () => ask.fail(signal.reason);
    signal?.addEventListener("abort", abort);
    begin(ask);
    try {
      while (!failure) {
        const next = ask.after + 1;
        const known = jobs.get(job);
        const last = hasEnded(known) ? known.chunks ?? 0 : Infinity;
        if (held.has(next)) {
          const piece = held.get(next);
          held.delete(next);
          ask.after = next;
          if (piece.anew) anew?.();
          yield piece.text;
        } else if (firstKept > next) {
          ask.after = firstKept - 1;
          if (!held.get(firstKept)?.anew) yield trimmed;
        } else if (next > last) {
          return;
        } else {
          // A missing piece is asked for once more; that of an ended job is not waited for without end.
          if ((held.size || last < Infinity) && askedAfter !== ask.after) {
            askedAfter = ask.after;
            tell(ask);
          }
          const giveUp = () => {
            if (isOpen()) firstKept = Math.min(last + 1, ...held.keys());
            wake();
          };
          if (last < Infinity) timeout = setTimeout(giveUp, ms.answer);
          await new Promise(resolve => (wake = resolve));
          clearTimeout(timeout);
        }
      }
      throw failure.error;
    } finally {
      asks.delete(ask);
      signal?.removeEventListener("abort", abort);
    }
  }

  // The position, over reloads

  function moveTo({ epoch, offset }) {
    if (socket.user !== null && isPlace(epoch, offset)) position = { epoch, offset, user: socket.user };
    save();
  }

  function load() {
    try {
      const { epoch, offset, user } = JSON.parse(storage.getItem(key));
      if (isPlace(epoch, offset)) return { epoch, offset, user };
    } catch {
      // There is none.
    }
  }

  function save() {
    clearTimeout(saveTimer);
    saveTimer = undefined;
    try {
      if (position) storage.setItem(key, JSON.stringify(position));
    } catch {
      // Full, forbidden, or none.
    }
  }
}

function ours(reason) {
  return { code: 0, reason };
}

function isObject(value) {
  return Object(value) === value;
}

function isPlace(epoch, offset) {
  return typeof epoch === "string" && Number.isSafeInteger(offset);
}

function framed(request, data) {
  const head = request + "\n";
  if (!ArrayBuffer.isView(data) && !(data instanceof ArrayBuffer)) {
    const json = JSON.stringify(data);
    if (json === undefined) throw new TypeError("not JSON");
    return head + json;
  }
  const bytes = data.buffer ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
  const frame = new Uint8Array(head.length + bytes.length);
  frame.set(new TextEncoder().encode(head));
  frame.set(bytes, head.length);
  return frame;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    // It stays a text.
  }
}

function call(handler, ...values) {
  try {
    handler(...values);
  } catch (error) {
    globalThis.reportError ? reportError(error) : console.error(error);
  }
}

function pageStorage() {
  try {
    return globalThis.sessionStorage;
  } catch {
    // Forbidden.
  }
}
