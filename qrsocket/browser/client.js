/** A WebSocket that misses nothing. See client.d.ts, and docs/protocol.md for the wire. */

const MAX_WAITING = 100; // to be sent
const MAX_BURST = 40; // at once
const MAX_HELD = 256; // received, while nobody listens
const MAX_HELD_BYTES = 2 ** 20;
const MAX_JOBS = 200;
const MAX_PLACES = 100; // of topics, in storage

const TIMING_MS = {
  first: 500, slowest: 20_000, slow: 30_000,
  ready: 15_000, stable: 5_000,
  quiet: 20_000, pong: 10_000, soonPong: 5_000,
  answer: 10_000, burst: 2_000, save: 300,
};

const keysInUse = new Set();

export function hasEnded(job) {
  return /^(succeeded|failed|timeout|cancelled|lost)$/.test(job?.state);
}

export function connect(url, { auth, WebSocket = globalThis.WebSocket, storage, timing } = {}) {
  if (!WebSocket) throw new Error("no WebSocket");
  const address = new URL(url, globalThis.location?.href);
  address.protocol = address.protocol.replace("http", "ws");
  const ms = { ...TIMING_MS, ...timing };

  const inbox = makeInbox(moveOn);
  const { on, emit } = inbox;
  // A stream is { inbox, place }; of mine the place is the user's.
  const mine = { inbox };
  const everyone = { inbox };
  const topics = new Map([["*", everyone]]);
  const asks = new Set(); // what waits for an answer; those with a name are sent again on each connection
  const ignored = new Set(); // requests whose errors are nobody's
  let jobs = new Map();
  const waiting = new Map(); // frames by request; undefined while a Blob is read
  let requests = 0;

  let ws, key, connection, stored, brought, pageEvents, timer, burstTimer, saveTimer;
  let attempt = 0; // what was begun in an earlier one is void
  let failures, hasRefreshed, readyAt, drainMs, heardAt, isPinged;

  const socket = {
    state: "closed",
    on,
    send,
    request,
    topic,
    get headers() {
      return socket.state === "ready" ? { "X-Socket-Connection": connection } : {};
    },
    fetch(input, init) {
      const asked = new Request(input, init);
      const isOurs = new URL(asked.url.replace("http", "ws")).origin === address.origin;
      if (isOurs) for (const name in socket.headers) asked.headers.set(name, connection);
      return fetch(asked);
    },
    connect: () => (socket.state === "offline" ? open() : start()),
    close() {
      [mine, ...topics.values()].forEach(forget); // it comes again
      stop("", 1000);
    },
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

  function become(state, why) {
    socket.state = state;
    emit("state", state, why);
    if (why) suspend();
  }

  // The connection

  function start() {
    if (socket.state !== "closed") return;
    key = `qrsocket:${address}`;
    while (keysInUse.has(key)) key += "+"; // two sockets have two positions
    keysInUse.add(key);
    if (!stored) load();
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
    const current = ++attempt;
    readyAt = Infinity;
    drainMs = undefined;
    setTimer(ms.ready, () => lose("no answer"));
    become("connecting");
    try {
      const given = await Promise.resolve().then(auth);
      const places = placesOfTopics();
      const hello = written("hello", { ...bare(mine.place), auth: given, topics: places, connection });
      if (current !== attempt) return;
      brought = new Set(Object.keys(places));
      ws = new WebSocket(address.href, "qrsocket.v1");
      ws.binaryType = "arraybuffer";
      ws.onopen = () => current === attempt && ws.send(hello);
      ws.onmessage = ({ data }) => current === attempt && receive(data);
      ws.onclose = ({ code, reason }) => current === attempt && lose(reason, code);
      ws.onerror = () => {}; // a close follows
    } catch (error) {
      if (current === attempt) lose(String(error?.message ?? error));
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
    const isSlow = /^410[34]$/.test(code);
    if (!isSlow && /^4(1|[5-9])../.test(code)) return stop(reason, code);
    if (performance.now() - readyAt >= ms.stable) failures = hasRefreshed = 0;
    let wait = Math.random() * Math.min(ms.slowest, ms.first * 2 ** failures++);
    if (isSlow) wait = ms.slow * (1 + Math.random());
    else if (drainMs >= 0) wait = drainMs;
    else if (code === 4001 && !hasRefreshed++) wait = 0;
    setTimer(wait, open);
    for (const ask of asks) if (!ask.name && !waiting.has(ask.request)) ask.fail("connection lost");
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
    become("closed", { code, reason });
  }

  function giveUp(error) {
    const given = [...waiting.keys(), ...[...asks].map(({ request }) => request)];
    waiting.clear();
    for (const request of given) fail({ error, request });
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
    socket.state === "ready" ? ping(ms.soonPong) : socket.connect();
  }

  // Receiving

  function receive(frame) {
    heardAt = performance.now();
    isPinged = false;
    const { name, offset, words, data } = parse(frame) ?? {};
    if (name) return isObject(data) && control(name, data);
    if (!words || socket.state !== "ready") return;
    if (words.r) return find(words.r)?.answer?.(data);
    const stream = streamOf(words.t);
    if (!stream || stream.room?.state === "joining") return;
    const place = offset >= 0 && placeOf(stream);
    if (place && offset <= place.seen) return;
    if (place) place.seen = offset;
    stream.inbox.put({ data, about: { offset, topic: words.t }, size: frame.length ?? frame.byteLength, place });
  }

  /** Called when the work is done: a reload in the middle brings the message again. */
  function moveOn({ place, about }) {
    if (!place) return;
    place.offset = about.offset;
    saveTimer ??= setTimeout(save, ms.save);
  }

  function control(name, body) {
    if (name === "ready") beReady(body);
    else if (name === "error") fail(body);
    else if (socket.state !== "ready") return;
    else if (name === "job") {
      take(body.job);
      for (const ask of asks) ask.see?.(body.request);
    } else if (name === "chunk") {
      for (const ask of asks) if (ask.job === body.chunk?.job) ask.add?.(body.chunk);
    } else if (name === "gap") {
      const stream = streamOf(body.topic);
      if (!stream) return;
      moveTo(stream, body);
      if (stream === mine) {
        say("jobs", {}); // one may have ended unheard
        asks.forEach(tell);
      }
      stream.inbox.gap();
    } else if (name === "jobs") {
      for (const job of replaceJobs(body.jobs)) emit("job", job);
      for (const ask of asks) ask.see?.();
    } else if (name === "joined") beJoined(body.topic, body);
    else if (name === "left") {
      if (!ignored.delete(body.request)) topics.get(body.topic)?.end("left", body.why);
    } else if (name === "members") topics.get(body.topic)?.change(body);
    else if (name === "expiring") renew();
    else if (name === "draining" && body.retry_after >= 0) drainMs = Math.min(body.retry_after, 600) * 1000;
  }

  function beReady(body) {
    const current = attempt;
    const isNew = socket.state !== "ready";
    const before = socket.user;
    const user = (socket.user = body.user ?? null);
    connection = body.connection;
    if (before !== undefined && before !== user) {
      jobs.clear();
      if (before !== null) [mine, everyone].forEach(forget); // they share an inbox
      giveUp("the user has changed");
    }
    // Nobody's messages are not kept.
    let isGap = settle(mine, body) || (user === null && before === null && !body.recovered);
    const { "*": answer, ...answers } = body.topics ?? {};
    if (isNew && answer) isGap = settle(everyone, answer) || isGap;
    const news = replaceJobs(body.jobs);
    readyAt = heardAt;
    watch(ms.quiet);
    socket.state = "ready";
    for (const ask of asks) ask.see?.();
    asks.forEach(tell);

    const tellPage = work => current === attempt && work(); // unless a handler has closed it
    emit("state", "ready");
    if (isGap) tellPage(inbox.gap);
    for (const job of news) tellPage(() => emit("job", job));
    for (const name in answers) tellPage(() => beJoined(name, answers[name]));
    brought.clear();
    sendWaiting();
  }

  function fail({ error, request = null, temporary }) {
    const ask = find(request);
    if (ask) ask.fail(error, temporary);
    else if (!ignored.delete(request)) emit("error", { error, request });
  }

  function find(request) {
    return [...asks, ...topics.values()].find(each => each.request === request);
  }

  // Topics

  function topic(name) {
    if (!/^[a-z\d][!-~]{0,199}$/i.test(name)) throw new TypeError(`no topic: ${name}`);
    if (!topics.has(name)) addTopic(name);
    queueMicrotask(sendWaiting); // many may be asked for in one go
    return topics.get(name).room;
  }

  function addTopic(name) {
    const inbox = makeInbox(moveOn);
    const room = {
      name,
      state: "joining",
      members: [],
      on: inbox.on,
      leave() {
        if (topics.get(name) !== entry) return;
        ignored.add(entry.request ?? 0);
        sayQuietly("leave", { topic: name });
        entry.end("left", "asked");
      },
    };
    const entry = {
      inbox,
      room,
      place: begun(stored[name]),
      become(state, why) {
        room.state = state;
        inbox.emit("state", state, why);
      },
      change({ joined = [], left = [] }) {
        const members = [...new Set([...room.members, ...joined])].filter(id => !left.includes(id)).sort();
        if (JSON.stringify(members) === JSON.stringify(room.members)) return;
        room.members = members;
        inbox.emit("members", members);
      },
      fail: (error, temporary) => (temporary ? (entry.request = pause()) : entry.end("refused", (room.error = error))),
      end(state, why) {
        topics.delete(name);
        save();
        entry.become(state, why);
      },
    };
    delete stored[name];
    topics.set(name, entry);
    return entry;
  }

  function beJoined(name, body) {
    const known = topics.get(name);
    if (body.error) return known?.fail(body.error);
    if (!isPlace(body) || (body.request && body.request !== known?.request)) return;
    if (!known && brought.has(name)) return sayQuietly("leave", { topic: name }); // it was left after the hello
    const entry = known ?? addTopic(name);
    const { room, inbox } = entry;
    const isNew = room.state === "joining";
    const isGap = isNew && settle(entry, body);
    room.state = "joined";
    room.members = [...(body.members ?? [])].sort();
    if (!known) emit("joined", room);
    if (isNew) inbox.emit("state", "joined");
    inbox.emit("members", room.members);
    if (isGap) inbox.gap();
  }

  /** They are joined again with the next connection. */
  function suspend() {
    ignored.clear();
    for (const entry of [...topics.values()]) {
      entry.request = undefined;
      if (entry.room?.state === "joined") entry.become("joining");
    }
  }

  // Sending

  function send(data, { volatile } = {}) {
    const request = newId();
    if (!volatile) enqueue(request, data);
    else if (!isOpen()) return false;
    else ws.send(framed(request, data));
    return request;
  }

  function enqueue(request, data, words = "") {
    if (socket.state === "closed") throw new Error("closed");
    if (waiting.size >= MAX_WAITING) throw new Error(`${MAX_WAITING} messages wait`);
    const isBlob = data instanceof Blob;
    waiting.set(request, isBlob ? undefined : framed(request + words, data));
    isBlob ? readBlob(request, data, words) : sendWaiting();
  }

  async function readBlob(request, blob, words) {
    try {
      const frame = framed(request + words, await blob.arrayBuffer());
      if (waiting.has(request)) waiting.set(request, frame);
    } catch (error) {
      if (waiting.delete(request)) fail({ error: error.message, request });
    }
    sendWaiting();
  }

  /** Topics first: what is said in one finds its page there. */
  function sendWaiting() {
    let left = MAX_BURST;
    const isFree = () => isOpen() && !burstTimer && (left-- || pause());
    for (const entry of topics.values()) {
      if (entry.request || entry.room?.state !== "joining") continue;
      if (!isFree()) return;
      entry.request = newId();
      say("join", { topic: entry.room.name, since: bare(entry.place), request: entry.request });
    }
    for (const [request, frame] of waiting) {
      if (!isFree() || !frame) return;
      waiting.delete(request);
      ws.send(frame);
    }
  }

  function pause() {
    burstTimer ||= setTimeout(() => sendWaiting((burstTimer = 0)), ms.burst);
  }

  function newId() {
    return String(++requests);
  }

  function isOpen() {
    return socket.state === "ready" && ws.readyState === 1;
  }

  function say(name, body) {
    if (isOpen()) ws.send(written(name, body));
  }

  /** An error that answers it is nobody's. */
  function sayQuietly(name, body) {
    const request = newId();
    ignored.add(request);
    say(name, { ...body, request });
  }

  async function renew() {
    const current = attempt;
    try {
      const given = await auth();
      if (current === attempt) sayQuietly("auth", { auth: given });
    } catch {
      // 4001 follows.
    }
  }

  // Asking

  function request(data, { timeout = ms.answer, signal } = {}) {
    const ask = {};
    return outcome(ask, timeout, signal, () => enqueue(ask.request, data, " want=reply"));
  }

  /** One answer, or one error. */
  async function outcome(ask, timeout, signal, begin = tell) {
    if (socket.state === "closed") throw new Error("closed");
    signal?.throwIfAborted();
    ask.request = newId();
    let timer, abort;
    try {
      return await new Promise((resolve, reject) => {
        ask.answer = resolve;
        ask.fail = (error, temporary) => (temporary && ask.name ? setTimeout(tell, ms.burst, ask) : reject(new Error(error)));
        abort = () => reject(signal.reason);
        signal?.addEventListener("abort", abort);
        timer = setTimeout(ask.fail, Math.min(timeout, 2 ** 31 - 1), "no answer");
        asks.add(ask);
        begin(ask);
      });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      asks.delete(ask);
      waiting.delete(ask.request);
    }
  }

  function tell(ask) {
    const { name, job, after, request } = ask;
    if (name && asks.has(ask)) say(name, { job, after, request });
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

  function cancel(job) {
    const ask = {
      name: "cancel",
      job,
      see(request) {
        const known = jobs.get(job);
        if (request === ask.request || known?.cancelling || hasEnded(known)) ask.answer(known);
      },
    };
    return outcome(ask, ms.answer);
  }

  async function* read(job, { after = 0, trimmed = "…", anew, signal } = {}) {
    const held = new Map(); // pieces not read yet, by number
    let firstKept = 0;
    let askedAfter = after;
    let failure, timeout, wake;
    const ask = {
      name: "read",
      job,
      after,
      see: () => wake?.(),
      add(piece) {
        if (piece.n > ask.after) held.set(piece.n, piece);
        if (piece.gap) firstKept = piece.n;
        ask.see();
      },
    };
    outcome(ask, Infinity, signal).catch(error => ask.see((failure = { error })));
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
      ask.answer?.();
    }
  }

  // Where each stream is

  function streamOf(topic) {
    return topic === undefined ? mine : topics.get(topic);
  }

  function placeOf(stream) {
    return stream === mine && mine.place?.user !== socket.user ? undefined : stream.place;
  }

  /** Returns whether something was missed. */
  function settle(stream, body) {
    const before = placeOf(stream);
    if (body.recovered && before?.epoch === body.epoch) return false;
    moveTo(stream, body);
    return before && !body.recovered;
  }

  function moveTo(stream, body) {
    if (!isPlace(body) || (stream === mine && socket.user === null)) return;
    if (stream.place) stream.inbox.drop(stream.place);
    stream.place = { ...bare(body), seen: body.offset, user: socket.user };
    save();
  }

  /** What is held comes again. */
  function forget({ inbox, place }) {
    inbox.drop();
    if (place) place.seen = place.offset;
  }

  function placesOfTopics() {
    const places = {};
    for (const [name, { place }] of topics) if (place) places[name] = bare(place);
    return places;
  }

  function store() {
    return storage === undefined ? globalThis.sessionStorage : storage; // even to look at it may be forbidden
  }

  function load() {
    let saved;
    try {
      saved = JSON.parse(store().getItem(key));
    } catch {
      // There is none.
    }
    mine.place = begun(saved);
    stored = { ...saved?.topics }; // each until its topic is joined again
    everyone.place = begun(stored["*"]);
  }

  function save() {
    saveTimer = clearTimeout(saveTimer);
    const topics = Object.fromEntries(Object.entries({ ...stored, ...placesOfTopics() }).slice(-MAX_PLACES));
    try {
      store().setItem(key, JSON.stringify({ ...mine.place, topics }));
    } catch {
      // Full, forbidden, or none.
    }
  }
}

/** Handlers by the name of their event. Messages, and a gap, wait for the first one of theirs. */
function makeInbox(moveOn) {
  const handlers = new Set();
  let held = [];
  let isGap;
  const inbox = {
    on(name, handler) {
      const entry = { name, handler };
      handlers.add(entry);
      queueMicrotask(flush); // not before the caller has what this returns
      return () => handlers.delete(entry);
    },
    /** Returns whether somebody listens. */
    emit(name, ...values) {
      const entries = [...handlers].filter(entry => entry.name === name);
      for (const entry of entries) if (handlers.has(entry)) call(entry.handler, ...values);
      return entries.length;
    },
    put(message) {
      held.push(message);
      flush();
      if (held.length <= MAX_HELD && held.reduce((sum, { size }) => sum + size, 0) <= MAX_HELD_BYTES) return;
      held.forEach(moveOn);
      inbox.drop();
      inbox.gap();
    },
    gap() {
      isGap = !inbox.emit("gap");
    },
    drop(place) {
      held = held.filter(message => place && message.place !== place);
    },
  };
  return inbox;

  function flush() {
    if (isGap) inbox.gap();
    while (held.length) {
      const [message] = held;
      if (!inbox.emit("message", message.data, message.about)) return;
      held.shift(); // if a handler has closed the socket, there is none
      moveOn(message);
    }
  }
}

function isObject(value) {
  return kindOf(value) === "Object";
}

function isPlace(place) {
  return typeof place?.epoch === "string" && Number.isInteger(place.offset);
}

/** A place is { epoch, offset, seen, user }: `offset` was processed, `seen` has come. */
function begun(place) {
  return isPlace(place) ? { ...place, seen: place.offset } : undefined;
}

function bare(place) {
  return place && { epoch: place.epoch, offset: place.offset };
}

function written(name, body) {
  return `!${name}\n` + JSON.stringify(body, checked);
}

function framed(header, data) {
  const head = header + "\n";
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
  return ({}).toString.call(value).slice(8, -1);
}

/** Takes a frame apart. Nothing comes of one that cannot be read. */
function parse(frame) {
  const isText = typeof frame === "string";
  const end = isText ? frame.indexOf("\n") : new Uint8Array(frame).indexOf(10);
  if (end < 0) return;
  const head = frame.slice(0, end);
  const body = frame.slice(end + 1);
  const header = isText ? head : new TextDecoder().decode(head);
  try {
    const [, name, offset, rest] = /^(?:!(\w+)|(\d{1,16})|-)((?: [^ ]+)*)$/.exec(header);
    const words = {};
    for (const [, key, value] of rest.matchAll(/ ([^ =]+)=([^ ]*)/g)) words[key] = decodeURIComponent(value);
    const data = isText && words.x !== "text" ? JSON.parse(body) : body;
    return { name, offset: offset && +offset, words, data };
  } catch {
    // Junk, or of a server to come.
  }
}

function call(handler, ...values) {
  try {
    handler(...values);
  } catch (error) {
    (globalThis.reportError ?? console.error)(error);
  }
}
