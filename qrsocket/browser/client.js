/** A WebSocket that misses nothing. See client.d.ts, and docs/protocol.md for the wire. */

const MAX_WAITING = 100;
const MAX_BURST = 40; // at once
const MAX_JOBS = 200;
const MAX_HEADER = 64;

const TIMING_MS = {
  first: 500, slowest: 20_000,
  ready: 15_000, stable: 5_000,
  quiet: 20_000, pong: 10_000, soonPong: 5_000,
  answer: 10_000, burst: 2_000, save: 300,
};

const keysInUse = new Set();

export function hasEnded(job) {
  return /^(succeeded|failed|timeout|cancelled|lost)$/.test(job?.state);
}

export function connect(url, { auth, WebSocket = globalThis.WebSocket, storage = pageStorage(), timing } = {}) {
  if (!WebSocket) throw new Error("no WebSocket: give one as option");
  const address = new URL(url, globalThis.location?.href);
  address.protocol = address.protocol.replace("http", "ws");
  const ms = { ...TIMING_MS, ...timing };

  const handlers = new Set();
  const asks = new Set(); // sent again on each connection
  let jobs = new Map();
  const waiting = new Map(); // frames by request; undefined while a Blob is read
  let requests = 0;

  let ws, key, position, pageEvents, timer, burstTimer, saveTimer;
  let attempt = 0; // what was begun in an earlier one is void
  let failures, hasRefreshed, readyAt, drainMs, heardAt, isPinged;

  const socket = {
    state: "closed",
    on,
    send,
    connect: () => (socket.state === "offline" ? open() : start()),
    close: () => stop("", 1000),
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
    return () => handlers.delete(entry);
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
    while (keysInUse.has(key)) key += "+"; // two sockets have two positions
    keysInUse.add(key);
    position ??= load();
    failures = hasRefreshed = 0;
    pageEvents = new AbortController();
    const listen = (name, handler) => globalThis.addEventListener?.(name, handler, { signal: pageEvents.signal });
    listen("pagehide", save);
    listen("online", hurry);
    listen("offline", () => socket.state !== "offline" && lose("offline"));
    listen("visibilitychange", () => (document.hidden ? save() : hurry()));
    open();
  }

  async function open() {
    const mine = ++attempt;
    readyAt = Infinity;
    drainMs = undefined;
    setTimer(ms.ready, () => lose("timeout"));
    become("connecting");
    try {
      const about = { ...position, user: undefined, auth: await Promise.resolve().then(auth) };
      const hello = "!hello\n" + JSON.stringify(about, checked);
      if (mine !== attempt) return;
      ws = new WebSocket(address.href, "qrsocket.v1");
      ws.binaryType = "arraybuffer";
      ws.onopen = () => mine === attempt && ws.send(hello);
      ws.onmessage = ({ data }) => mine === attempt && receive(data);
      ws.onclose = ({ code, reason }) => mine === attempt && lose(reason, code);
      ws.onerror = () => {}; // a close follows
    } catch (error) {
      if (mine === attempt) lose(String(error?.message ?? error));
    }
  }

  /** Awaits no close: a dead WebSocket takes minutes. */
  function drop() {
    attempt++;
    clearTimeout(timer);
    burstTimer = clearTimeout(burstTimer);
    ws?.close(1000);
  }

  function lose(reason, code = 0) {
    drop();
    if (code >= 4100 && code < 4200) return stop(reason, code);
    if (performance.now() - readyAt >= ms.stable) failures = hasRefreshed = 0;
    let wait = Math.random() * Math.min(ms.slowest, ms.first * 2 ** failures++);
    if (drainMs >= 0) wait = drainMs;
    else if (code === 4001 && !hasRefreshed++) wait = 0;
    setTimer(wait, open);
    become("offline", { code, reason });
  }

  function stop(reason, code) {
    if (socket.state === "closed") return;
    drop();
    pageEvents.abort();
    save();
    keysInUse.delete(key);
    socket.state = "closed";
    giveUp("closed");
    emit("state", "closed", { code, reason });
  }

  function giveUp(error) {
    for (const ask of asks) ask.fail(error);
    const given = [...waiting];
    waiting.clear();
    for (const [request] of given) emit("error", { error, request });
  }

  function setTimer(wait, then) {
    clearTimeout(timer);
    timer = setTimeout(then, wait);
  }

  function watch(wait) {
    setTimer(wait, () => {
      if (isPinged) return lose("no answer");
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
    const start = frame.slice(0, MAX_HEADER);
    const head = isText ? start : new TextDecoder().decode(start);
    const [header, name, offset] = /^(?:!(\w+) ?)?(\d*)\n/.exec(head) ?? [];
    if (!header) return;
    const body = frame.slice(header.length);
    const data = isText ? parse(body) : body;
    if (name) isText && isObject(data) && control(name, data, +offset);
    else if (socket.state === "ready") deliver(+offset, () => emit("message", data, { offset: +offset || undefined }));
  }

  /** Moves on when the work is done: a reload in the middle brings it again. */
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
      for (const ask of asks) if (ask.job === body.job?.id) ask.see(body.request);
    } else if (name === "chunk") {
      for (const ask of asks) if (ask.job === body.chunk?.job) ask.add?.(body.chunk);
    } else if (name === "gap") {
      moveTo(body);
      tell({ name: "jobs" }); // one may have ended unheard
      asks.forEach(tell);
      emit("gap");
    } else if (name === "jobs") {
      for (const job of replaceJobs(body.jobs)) emit("job", job);
      for (const ask of asks) ask.see();
    } else if (name === "draining" && body.retry_after >= 0) drainMs = Math.min(body.retry_after, 600) * 1000;
  }

  function beReady(body) {
    const before = socket.user;
    const user = (socket.user = body.user ?? null);
    // Nobody's messages are not kept.
    const isGap = !body.recovered && (user === null ? before === null : position?.user === user);
    moveTo(body);
    if (before !== undefined && before !== user) {
      jobs.clear();
      giveUp("the user has changed");
    }
    const news = replaceJobs(body.jobs);
    readyAt = heardAt;
    watch(ms.quiet);
    socket.state = "ready";
    for (const ask of asks) ask.see();
    asks.forEach(tell);
    sendWaiting();

    const mine = attempt;
    const tellPage = (...event) => mine === attempt && emit(...event); // unless a handler has closed it
    tellPage("state", "ready");
    if (isGap) tellPage("gap");
    for (const job of news) tellPage("job", job);
  }

  function fail({ error, request = null }) {
    const ask = [...asks].find(each => each.request === request);
    ask ? ask.fail(error) : emit("error", { error, request });
  }

  // Sending

  function send(data) {
    if (socket.state === "closed") throw new Error("closed");
    if (waiting.size >= MAX_WAITING) throw new Error(`${MAX_WAITING} messages wait already`);
    const request = String(++requests);
    const isBlob = data instanceof Blob;
    waiting.set(request, isBlob ? undefined : framed(request, data));
    isBlob ? readBlob(request, data) : sendWaiting();
    return request;
  }

  async function readBlob(request, blob) {
    try {
      const frame = framed(request, await blob.arrayBuffer());
      if (waiting.has(request)) waiting.set(request, frame);
    } catch (error) {
      if (waiting.delete(request)) emit("error", { error: error.message, request });
    }
    sendWaiting();
  }

  function sendWaiting() {
    let room = MAX_BURST;
    for (const [request, frame] of waiting) {
      if (burstTimer || !isOpen()) return;
      if (!room--) burstTimer = setTimeout(() => sendWaiting((burstTimer = 0)), ms.burst);
      else if (!frame) return;
      else waiting.delete(request), ws.send(frame);
    }
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
    const told = [].concat(list).filter(isObject).reverse();
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
    if (socket.state === "closed") return ask.fail("closed");
    asks.add(ask);
    tell(ask);
  }

  function tell({ name, job, after, request }) {
    if (isOpen()) ws.send(`!${name}\n` + JSON.stringify({ job, after, request }));
  }

  async function cancel(job) {
    const ask = { name: "cancel", job };
    const timeout = setTimeout(() => ask.fail("no answer"), ms.answer);
    try {
      return await new Promise((resolve, reject) => {
        ask.fail = error => reject(new Error(error));
        ask.see = request => {
          const known = jobs.get(job);
          if (request === ask.request || known?.cancelling || hasEnded(known)) resolve(known);
        };
        begin(ask);
      });
    } finally {
      clearTimeout(timeout);
      asks.delete(ask);
    }
  }

  async function* read(job, { after = 0, trimmed = "…", anew, signal } = {}) {
    signal?.throwIfAborted();
    const held = new Map(); // pieces not read yet, by number
    let firstKept = 0;
    let askedAfter = after;
    let failure, timeout, wake;
    const end = error => ask.see((failure ??= { error }));
    const abort = () => end(signal.reason);
    const ask = {
      name: "read",
      job,
      after,
      fail: error => end(new Error(error)),
      see: () => wake?.(),
      add(piece) {
        if (piece.n > ask.after) held.set(piece.n, piece);
        if (piece.gap) firstKept = piece.n;
        ask.see();
      },
    };
    signal?.addEventListener("abort", abort);
    begin(ask);
    try {
      while (!failure) {
        const known = jobs.get(job);
        const last = hasEnded(known) ? known.chunks ?? 0 : Infinity;
        const first = Math.min(last + 1, ...held.keys());
        const next = ask.after + 1;
        if (first <= Math.max(next, firstKept)) {
          const piece = held.get(first);
          held.delete(first);
          ask.after = first;
          if (piece?.anew) anew?.();
          else if (first > next) yield trimmed;
          if (!piece) return;
          yield piece.text;
        } else {
          // A missing piece is asked for once more. After the end it is given up in time.
          if (first < Infinity && askedAfter !== ask.after) {
            askedAfter = ask.after;
            tell(ask);
          }
          const skip = () => {
            if (isOpen()) firstKept = first;
            wake();
          };
          if (last < Infinity) timeout = setTimeout(skip, ms.answer);
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

  // Position

  function moveTo(place) {
    const { epoch, offset } = place;
    if (socket.user !== null && isPlace(place)) position = { epoch, offset, user: socket.user };
    save();
  }

  function load() {
    try {
      const place = JSON.parse(storage.getItem(key));
      if (isPlace(place)) return place;
    } catch {
      // There is none.
    }
  }

  function save() {
    saveTimer = clearTimeout(saveTimer);
    try {
      if (position) storage.setItem(key, JSON.stringify(position));
    } catch {
      // Full, forbidden, or none.
    }
  }
}

function isObject(value) {
  return Object(value) === value;
}

function isPlace({ epoch, offset }) {
  return typeof epoch === "string" && Number.isSafeInteger(offset);
}

function framed(request, data) {
  const head = request + "\n";
  if (!ArrayBuffer.isView(data) && kindOf(data) !== "ArrayBuffer") return head + JSON.stringify(data, checked);
  const bytes = new Uint8Array(data.buffer ?? data, data.byteOffset, data.byteLength);
  const frame = new Uint8Array(head.length + bytes.length);
  frame.set(new TextEncoder().encode(head));
  frame.set(bytes, head.length);
  return frame;
}

/** Stops JSON.stringify from making {} of a Map. */
function checked(key, value) {
  const kind = typeof value === "number" ? value : kindOf(value ?? this[key]); // an invalid Date is null
  const isLeftOut = value === undefined && key && !Array.isArray(this);
  if (isLeftOut || isFinite(kind) || /^(Object|Array|String|Boolean|Null)$/.test(kind)) return value;
  throw new TypeError(`JSON has no ${kind} (at "${key}"): send text, an array or an object`);
}

function kindOf(value) {
  return Object.prototype.toString.call(value).slice(8, -1);
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function call(handler, ...values) {
  try {
    handler(...values);
  } catch (error) {
    (globalThis.reportError ?? console.error)(error);
  }
}

function pageStorage() {
  try {
    return globalThis.sessionStorage;
  } catch {
    // Forbidden.
  }
}
