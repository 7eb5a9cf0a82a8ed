/** What a page tells of itself: it hides, goes, loses its network. The window here is an EventTarget. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { caughtUp, memory, next, record, serve } from "./support/server.js";

const SLOW = { first: 1e6, slowest: 1e6, save: 1e6 };

let page;

beforeEach(t => {
  page = new EventTarget();
  globalThis.addEventListener = page.addEventListener.bind(page);
  globalThis.document = { hidden: false };
});

afterEach(() => {
  delete globalThis.addEventListener;
  delete globalThis.document;
});

function happens(name, hidden = false) {
  document.hidden = hidden;
  page.dispatchEvent(new Event(name));
}

const offsetIn = storage => JSON.parse(Object.values(storage.items)[0]).offset;

for (const [name, hidden] of [["pagehide"], ["visibilitychange", true]]) {
  test(`${name}: the position is written`, async t => {
    const storage = memory();
    const { socket, peer } = await (await serve(t)).ready({ storage, timing: SLOW });
    record(socket, "message");
    peer.message(11, 1);
    await caughtUp(socket, peer);
    assert.equal(offsetIn(storage), 10);

    happens(name, hidden);

    assert.equal(offsetIn(storage), 11);
  });
}

for (const name of ["visibilitychange", "online"]) {
  test(`${name}: a connection is tried, with little patience`, async t => {
    const { socket, peer } = await (await serve(t)).ready({ timing: { ...SLOW, soonPong: 10 } });
    peer.isAnswering = false;

    happens(name);

    assert.equal(await peer.anyFrame(), "!ping\n{}");
    assert.equal((await next(socket, "state"))[1].reason, "no answer");
  });

  test(`${name}: who waits to reconnect tries now`, async t => {
    const server = await serve(t);
    t.mock.method(Math, "random", () => 1);
    const { socket, peer } = await server.ready({ timing: SLOW });
    peer.cut();
    await next(socket, "state", state => state === "offline");

    happens(name);
    happens(name);
    const again = await server.peer();
    await again.welcome();
    await caughtUp(socket, again);

    assert.equal(server.count, 2);
  });
}

test("a connection that comes back slowly comes at once when the page is shown", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready({ timing: { ...SLOW, slow: 1e6 } });
  const offline = next(socket, "state", state => state === "offline");
  await peer.close(4103);
  await offline;

  happens("visibilitychange", true);
  assert.equal(server.count, 1);
  happens("visibilitychange");

  await (await server.peer()).hello();
});

test("offline: said at once, and over with the next connection", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready({ timing: SLOW });
  const states = [];
  socket.on("state", (state, why) => states.push([state, why?.reason]));

  happens("offline");
  happens("offline");
  assert.deepEqual(states, [["offline", "offline"]]);
  await peer.closed;
  happens("online");
  await (await server.peer()).welcome();

  await next(socket, "state", state => state === "ready");
});

test("a closed socket does not listen to the page", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  const states = record(socket, "state");
  socket.close();

  for (const name of ["online", "offline", "visibilitychange", "pagehide"]) happens(name);
  await peer.closed;

  assert.deepEqual([states, server.count], [["closed"], 1]);
});

test("reportError gets what a handler throws", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const reports = [];
  globalThis.reportError = error => reports.push(error);
  t.after(() => delete globalThis.reportError);
  socket.on("message", () => {
    throw "broken";
  });

  peer.message(11, 1);
  await caughtUp(socket, peer);

  assert.deepEqual(reports, ["broken"]);
});

test("a sessionStorage that may not even be looked at breaks nothing", async t => {
  Object.defineProperty(globalThis, "sessionStorage", {
    configurable: true,
    get() {
      throw new Error("forbidden");
    },
  });
  t.after(() => delete globalThis.sessionStorage);

  const { socket } = await (await serve(t)).ready({ storage: undefined });

  assert.equal(socket.state, "ready");
});

test("sessionStorage is used when nothing is said", async t => {
  globalThis.sessionStorage = memory();
  t.after(() => delete globalThis.sessionStorage);

  const server = await serve(t);
  await server.ready({ storage: undefined });

  assert.deepEqual(Object.keys(sessionStorage.items), [`qrsocket:${server.url.replace("http", "ws")}`]);
});

test("the URL is relative to the page", async t => {
  const server = await serve(t);
  const { connect } = await import("qrsocket");
  const { WebSocket } = await import("./support/server.js");
  globalThis.location = { href: server.url.replace("/socket", "/shop/cart?id=1#top") };
  t.after(() => delete globalThis.location);

  const socket = connect("../socket", { WebSocket, storage: null });
  t.after(() => socket.close());

  assert.equal((await server.peer()).url, "/socket");
});
