/** A server that does as the test says: it speaks qrsocket.v1, and waits for what a client sends. */

import { once } from "node:events";
import { WebSocket, WebSocketServer } from "ws";
import { connect as theClient } from "qrsocket";

export { WebSocket };

export const MS = 1;
/** For what must come; a test that waits this long has failed. */
const PATIENCE = 60_000 * MS;
/** Time constants of the client in tests: tries come soon, the rest is out of the way. */
export const TIMING = { first: 2 * MS, slowest: 10 * MS };

export const EPOCH = "epoch-1";
const EVERYONE = { epoch: EPOCH, offset: 5, recovered: true };
const READY = { connection: "c1", user: "alice", epoch: EPOCH, offset: 10, recovered: true, jobs: [] };

/** What is put in comes out in order; who takes before that waits. */
export class Inbox {
  #items = [];
  #takers = [];

  put(item) {
    const taker = this.#takers.shift();
    taker ? taker(item) : this.#items.push(item);
  }

  take() {
    if (this.#items.length) return Promise.resolve(this.#items.shift());
    return inTime(new Promise(resolve => this.#takers.push(resolve)), "nothing came");
  }

  get size() {
    return this.#items.length;
  }
}

export function inTime(promise, complaint) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(complaint)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** One connection, seen from the server. */
class Peer {
  #frames = new Inbox();

  constructor(webSocket, request) {
    this.webSocket = webSocket;
    this.url = request.url;
    this.closed = once(webSocket, "close").then(([code]) => code);
    this.isAnswering = true;
    webSocket.on("message", (data, isBinary) => {
      const frame = isBinary ? data : data.toString();
      if (frame === "!ping\n{}" && this.isAnswering) webSocket.send("!pong\n{}");
      this.#frames.put(frame);
    });
  }

  /** The next frame, but for pings. */
  async frame() {
    for (;;) {
      const frame = await this.#frames.take();
      if (frame !== "!ping\n{}") return frame;
    }
  }

  anyFrame() {
    return this.#frames.take();
  }

  /** The next frame as a control: its name, and what it says. */
  async control() {
    const [, name, body] = /^!(\w+)\n(.*)$/s.exec(await this.frame());
    return [name, JSON.parse(body)];
  }

  async hello() {
    const [name, hello] = await this.control();
    if (name !== "hello") throw new Error(`${name} instead of a hello`);
    return hello;
  }

  /** Take the hello, and give the client its place. */
  async welcome(ready = {}) {
    const hello = await this.hello();
    this.ready(ready);
    return hello;
  }

  send(frame) {
    this.webSocket.send(frame);
  }

  ready({ topics, ...more } = {}) {
    this.tell("ready", { ...READY, ...more, topics: { "*": EVERYONE, ...topics } });
  }

  /** *header*: an offset or "-", and more words. */
  message(header, data) {
    this.send(`${header}\n${JSON.stringify(data)}`);
  }

  tell(name, body) {
    this.send(`!${name}\n${JSON.stringify(body)}`);
  }

  job(job) {
    this.tell("job", { job });
  }

  chunk(job, n, text, more = {}) {
    this.tell("chunk", { chunk: { job, n, text, ...more } });
  }

  close(code, reason) {
    this.webSocket.close(code, reason);
    return this.closed;
  }

  /** Break the connection without a word. */
  cut() {
    this.webSocket.terminate();
  }
}

/** Start a server that ends with test *t*. */
export async function serve(t, connect = theClient) {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  const peers = new Inbox();
  const sockets = [];
  server.on("connection", (webSocket, request) => {
    sockets.push(webSocket);
    peers.put(new Peer(webSocket, request));
  });
  const clients = [];
  t.after(() => {
    for (const client of clients) client.close();
    for (const socket of sockets) socket.terminate();
    server.close();
  });
  const url = `http://127.0.0.1:${server.address().port}/socket`;
  return {
    url,
    /** The next connection. */
    peer: () => peers.take(),
    get count() {
      return sockets.length;
    },
    /** Connections that are open now. */
    get open() {
      return server.clients.size;
    },
    connect(options = {}) {
      const { timing, path = "", ...rest } = options;
      const socket = connect(url + path, { WebSocket, storage: null, timing: { ...TIMING, ...timing }, ...rest });
      clients.push(socket);
      return socket;
    },
    /** Connect, and be ready. */
    async ready(options, ready) {
      const socket = this.connect(options);
      const state = next(socket, "state", value => value === "ready");
      const peer = await this.peer();
      const hello = await peer.welcome(ready);
      await state;
      return { socket, peer, hello };
    },
  };
}

/** The values of the next event *name* that fits. */
export function next(socket, name, fits = () => true) {
  const promise = new Promise(resolve => {
    const off = socket.on(name, (...values) => {
      if (!fits(...values)) return;
      off();
      resolve(values);
    });
  });
  return inTime(promise, `no ${name}`);
}

/** What events *name* say, in order, as a list that grows. */
export function record(socket, name) {
  const seen = [];
  socket.on(name, (...values) => seen.push(values[0]));
  return seen;
}

/** Of a hello or of what was saved: where the client is in its own stream. */
export function placeIn({ epoch, offset }) {
  return { epoch, offset };
}

/** Wait until the client has read all that *peer* has sent so far. */
export async function caughtUp(socket, peer) {
  const marker = `marker-${Math.random()}`;
  const heard = next(socket, "error", ({ error }) => error === marker);
  peer.tell("error", { error: marker, request: null });
  await heard;
}

/** A storage as the browser's, and what is in it. */
export function memory(items = {}) {
  return {
    items,
    writes: 0,
    getItem: key => items[key] ?? null,
    setItem(key, value) {
      items[key] = value;
      this.writes += 1;
    },
  };
}

export function jobOf(id, seq, more = {}) {
  return { id, task: "tasks.work", state: "started", seq, attempt: 1, percent: null, queued_at: seq, ...more };
}
