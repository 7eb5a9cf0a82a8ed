/** A connection that is lost comes back; one that is refused does not. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { caughtUp, inTime, next, record, serve, TIMING, WebSocket } from "./support/server.js";
import { connect } from "qrsocket";

/** A WebSocket class that keeps all that were made of it. */
function keeping() {
  const made = [];
  class Kept extends WebSocket {
    constructor(...args) {
      super(...args);
      made.push(this);
    }
  }
  return { Kept, made };
}

test("states: connecting, ready, offline with the reason, and again", async t => {
  const server = await serve(t);
  const socket = server.connect();
  const seen = [[socket.state]];
  socket.on("state", (state, why) => seen.push(why ? [state, why] : [state]));

  const peer = await server.peer();
  await peer.welcome();
  await peer.close(1012, "restart");
  await (await server.peer()).welcome();
  await next(socket, "state", state => state === "ready");

  const offline = ["offline", { code: 1012, reason: "restart" }];
  assert.deepEqual(seen, [["connecting"], ["ready"], offline, ["connecting"], ["ready"]]);
});

test("auth is called anew for each connection, and may be async", async t => {
  const server = await serve(t);
  let calls = 0;
  const { peer, hello } = await server.ready({ auth: async () => ({ token: ++calls }) });

  peer.cut();

  assert.deepEqual([hello.auth, (await (await server.peer()).hello()).auth], [{ token: 1 }, { token: 2 }]);
});

test("an auth that throws is tried again, without a connection, and says why", async t => {
  const server = await serve(t);
  let calls = 0;
  const socket = server.connect({
    auth() {
      if (++calls < 3) throw new Error("no token");
      return "token";
    },
  });
  const whys = [];
  socket.on("state", (_, why) => why && whys.push(why));

  const { auth } = await (await server.peer()).hello();

  assert.deepEqual([auth, server.count], ["token", 1]);
  assert.deepEqual(whys, Array(2).fill({ code: 0, reason: "no token" }));
});

test("an auth that never answers is given up, and its late answer is void", async t => {
  const server = await serve(t);
  const answers = [];
  server.connect({
    auth: () => new Promise(resolve => { answers.push(resolve); if (answers.length > 1) resolve("second"); }),
    timing: { ready: 300 },
  });

  const peer = await server.peer();
  answers[0]("first");
  await new Promise(setImmediate);

  assert.equal((await peer.hello()).auth, "second");
  assert.equal(server.count, 1);
});

test("an auth that cannot be JSON is a lost connection", async t => {
  const socket = (await serve(t)).connect({ auth: () => 10n });

  const [, why] = await next(socket, "state", state => state === "offline");

  assert.equal(why.code, 0);
});

/** Let no time pass between tries; returns what each would have waited, at most. */
function skippingWaits(t) {
  t.mock.method(Math, "random", () => 1);
  const waits = [];
  const { setTimeout } = globalThis;
  t.mock.method(globalThis, "setTimeout", (then, wait, ...more) => {
    if (wait > 200) return setTimeout(then, wait, ...more);
    waits.push(wait);
    return setTimeout(then, 0, ...more);
  });
  return waits;
}

test("full jitter: each try may wait twice as long as the last, up to a cap", async t => {
  const server = await serve(t);
  const waits = skippingWaits(t);
  Math.random.mock.mockImplementation(() => 0.5);
  server.connect({ timing: { first: 20, slowest: 100, stable: 0, ready: 1e6 } });

  for (let n = 0; n < 6; n++) await (await server.peer()).close(1013);

  assert.deepEqual(waits.slice(0, 5), [10, 20, 40, 50, 50]);
});

test("a server that says ready and closes at once, in a loop, is not hammered", async t => {
  const server = await serve(t);
  const waits = skippingWaits(t);
  server.connect({ timing: { first: 10, slowest: 200, ready: 1e6 } });

  for (let n = 0; n < 5; n++) {
    const peer = await server.peer();
    await peer.welcome();
    await peer.close(1011);
  }

  assert.deepEqual(waits.slice(0, 4), [10, 20, 40, 80]);
});

test("a connection that lasted begins the waiting anew", async t => {
  const server = await serve(t);
  t.mock.method(Math, "random", () => 1);
  const socket = server.connect({ timing: { first: 1, slowest: 1e6, stable: 0 } });
  const states = record(socket, "state");

  for (let n = 0; n < 20; n++) { // the last of these would wait for 500 s
    const peer = await server.peer();
    await peer.welcome();
    await peer.close(1011);
  }

  assert.equal(states.filter(state => state === "ready").length, 20);
});

test("4001: back at once with a fresh token, once; then as always", async t => {
  const server = await serve(t);
  t.mock.method(Math, "random", () => 1);
  const socket = server.connect({ timing: { first: 1e6, slowest: 1e6 } });

  await (await server.peer()).close(4001, "expired");
  const second = await server.peer();
  const lost = next(socket, "state", state => state === "offline");
  await second.close(4001, "expired");
  await lost;
  await new Promise(resolve => setTimeout(resolve, 20));

  assert.deepEqual([server.count, socket.state], [2, "offline"]);
});

test("draining: it comes back when it was told to", async t => {
  const server = await serve(t);
  t.mock.method(Math, "random", () => 1);
  const { peer } = await server.ready({ timing: { first: 1e6, slowest: 1e6 } });

  peer.tell("draining", { retry_after: 0.05 });
  await peer.close(1012);
  const start = performance.now();
  await server.peer();

  assert.ok(performance.now() - start >= 45);
});

for (const code of [4100, 4101]) {
  test(`${code}: closed, and it stays so until connect()`, async t => {
    const server = await serve(t);
    const socket = server.connect();
    const closed = next(socket, "state", state => state === "closed");

    await (await server.peer()).close(code, "go away");
    assert.deepEqual(await closed, ["closed", { code, reason: "go away" }]);
    await new Promise(resolve => setTimeout(resolve, 15));
    assert.equal(server.count, 1);
    socket.connect();
    const ready = next(socket, "state", state => state === "ready");
    await (await server.peer()).welcome();
    await ready;
  });
}

test("connect() while it waits tries now; otherwise it does nothing", async t => {
  const server = await serve(t);
  t.mock.method(Math, "random", () => 1);
  const { socket, peer } = await server.ready({ timing: { first: 1e6, slowest: 1e6 } });

  socket.connect();
  peer.cut();
  await next(socket, "state", state => state === "offline");
  socket.connect();
  socket.connect();
  const again = await server.peer();
  await again.welcome();
  await caughtUp(socket, again);

  assert.equal(server.count, 2);
});

test("close() is for good: no try is left behind, whenever it comes", async t => {
  const server = await serve(t);
  for (const when of ["connecting", "ready", "offline"]) {
    const socket = server.connect();
    if (when === "connecting") socket.close();
    socket.on("state", state => state === when && socket.close());
    if (when !== "connecting") {
      const peer = await server.peer();
      await peer.welcome();
      if (when === "offline") peer.cut();
      await inTime(peer.closed, "still open");
    }
    await new Promise(resolve => setTimeout(resolve, 15));
    assert.equal(socket.state, "closed");
  }

  assert.equal(server.count, 2);
});

test("closed is told once", async t => {
  const { socket } = await (await serve(t)).ready();
  const states = record(socket, "state");

  socket.close();
  socket.close();

  assert.deepEqual(states, ["closed"]);
});

test("close() and connect() in one breath leave one connection", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();

  socket.close();
  socket.connect();
  socket.close();
  socket.connect();
  await peer.closed;
  const again = await server.peer();
  await again.welcome();
  await caughtUp(socket, again);

  assert.equal(server.open, 1);
});

test("a WebSocket that was given up is not listened to any more", async t => {
  const server = await serve(t);
  const { Kept, made } = keeping();
  const { socket, peer } = await server.ready({ WebSocket: Kept });
  const seen = record(socket, "message");
  peer.cut();
  const again = await server.peer();
  await again.welcome();
  await caughtUp(socket, again);

  made[0].onmessage({ data: "11\n1" });
  made[0].onclose({ code: 4100, reason: "" });

  assert.deepEqual([seen, socket.state], [[], "ready"]);
});

test("silence is answered with a ping, and no answer with another connection", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready({ timing: { quiet: 15, pong: 15 } });
  peer.isAnswering = false;

  assert.equal(await peer.anyFrame(), "!ping\n{}");
  const [, why] = await next(socket, "state", state => state === "offline");

  assert.deepEqual(why, { code: 0, reason: "no answer" });
  await server.peer();
});

test("a pong is an answer, and so is any other frame", async t => {
  const { socket, peer } = await (await serve(t)).ready({ timing: { quiet: 5, pong: 40 } });
  const states = record(socket, "state");

  for (let n = 0; n < 3; n++) assert.equal(await peer.anyFrame(), "!ping\n{}");
  peer.isAnswering = false;
  for (let n = 0; n < 3; n++) {
    assert.equal(await peer.anyFrame(), "!ping\n{}");
    peer.message(11 + n, n);
  }

  assert.deepEqual(states, []);
});

test("while messages come there is no ping", async t => {
  const { socket, peer } = await (await serve(t)).ready({ timing: { quiet: 500 } });
  for (let n = 0; n < 10; n++) {
    peer.message(11 + n, n);
    await new Promise(resolve => setTimeout(resolve, 60));
  }
  socket.send("last");

  assert.match(await peer.anyFrame(), /"last"/);
});

test("a WebSocket that does not become ready in time is dropped", async t => {
  const server = await serve(t);
  const socket = server.connect({ timing: { ready: 300 } });
  const peer = await server.peer();
  await peer.hello(); // and no ready

  const [, why] = await next(socket, "state", state => state === "offline");

  assert.deepEqual(why, { code: 0, reason: "no answer" });
  await server.peer();
});

test("a server that cannot be reached is tried again", async t => {
  const socket = connect("ws://127.0.0.1:9/socket", { WebSocket, storage: null, timing: TIMING });
  t.after(() => socket.close());
  const tries = [];
  await next(socket, "state", state => tries.push(state) && tries.filter(each => each === "offline").length === 5);
});

test("messages sent while it is away go out when it is back", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  peer.cut();
  await next(socket, "state", state => state === "offline");

  const request = socket.send("later");
  const again = await server.peer();
  await again.welcome();

  assert.equal(await again.frame(), `${request}\n"later"`);
});

test("what is sent while the WebSocket is closing waits for the next one", async t => {
  const server = await serve(t);
  const { Kept, made } = keeping();
  const { socket, peer } = await server.ready({ WebSocket: Kept });
  Object.defineProperty(made[0], "readyState", { value: WebSocket.CLOSING });

  socket.send("late");
  peer.cut();
  const again = await server.peer();
  await again.welcome();

  assert.match(await again.frame(), /late/);
});

test("what waits for one user is never sent as another", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  const errors = record(socket, "error");
  peer.cut();
  await next(socket, "state", state => state === "offline");

  const request = socket.send("alice's secret");
  const again = await server.peer();
  await again.welcome({ user: "bob" });
  await caughtUp(socket, again);
  socket.send("bob's");

  assert.match(await again.frame(), /bob's/);
  assert.deepEqual(errors[0], { error: "the user has changed", request });
});

test("ready again on one connection: the user has changed", async t => {
  const { socket, peer } = await (await serve(t)).ready({}, { user: null, recovered: false });
  const ready = next(socket, "state");

  peer.tell("ready", { user: "alice", epoch: "epoch-1", offset: 3, recovered: false });

  assert.equal((await ready)[0], "ready");
  assert.equal(socket.user, "alice");
});

test("the URL keeps its query, and http becomes ws", async t => {
  const server = await serve(t);
  server.connect({ path: "?user=alice" });

  assert.equal((await server.peer()).url, "/socket?user=alice");
});

test("what is no URL, or has no WebSocket class, is said at once", () => {
  assert.throws(() => connect("/socket", { WebSocket }), TypeError); // relative to what, without a page?
  assert.throws(() => connect("http://localhost/socket", { WebSocket: null }), /WebSocket/);
});
