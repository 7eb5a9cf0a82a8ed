/** Nothing is thrown away because nobody listens yet. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { caughtUp, EPOCH, next, record, serve } from "./support/server.js";

const at = offset => ({ epoch: EPOCH, offset });
const flushed = () => new Promise(setImmediate);

test("messages wait for the first handler, in order, everyone's among them", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  peer.message(11, "mine");
  peer.message("- t=*", "everyone's");
  peer.message("-", "not kept");
  peer.message(11, "again");
  await caughtUp(socket, peer);

  const seen = record(socket, "message");
  const both = record(socket, "message");
  await flushed();

  assert.deepEqual([seen, both], [["mine", "everyone's", "not kept"], ["mine", "everyone's", "not kept"]]);
});

test("the first handler may take itself off", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  for (const offset of [11, 12]) peer.message(offset, offset);
  await caughtUp(socket, peer);

  assert.equal((await next(socket, "message"))[0], 11);
  assert.equal((await next(socket, "message"))[0], 12);
});

test("their position stays where it is, and after a reconnect each is there once", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  for (const offset of [11, 12]) peer.message(offset, offset);
  await caughtUp(socket, peer);

  peer.cut();
  const again = await server.peer();
  const { offset } = await again.welcome();
  for (const offset of [11, 12, 13]) again.message(offset, offset);
  await caughtUp(socket, again);
  const seen = record(socket, "message");
  await flushed();
  again.cut();

  assert.deepEqual([offset, seen], [10, [11, 12, 13]]);
  assert.equal((await (await server.peer()).hello()).offset, 13);
});

test("a handler that comes while the hello is under way: nothing comes twice", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  peer.message(11, 11);
  await caughtUp(socket, peer);
  peer.cut();
  const again = await server.peer();
  await again.hello();

  const seen = record(socket, "message");
  await flushed();
  again.ready({ offset: 10 });
  for (const offset of [11, 12]) again.message(offset, offset);
  await caughtUp(socket, again);

  assert.deepEqual(seen, [11, 12]);
});

test("what was missed for good takes with it what waits: it may come again", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  for (const offset of [11, 12]) peer.message(offset, offset);
  peer.message("-", "not kept");
  await caughtUp(socket, peer);

  peer.cut();
  const again = await server.peer();
  await again.welcome({ epoch: "epoch-2", offset: 3, recovered: false });
  again.message(4, 4);
  await caughtUp(socket, again);
  const gaps = record(socket, "gap");
  const seen = record(socket, "message");
  await flushed();

  assert.deepEqual([gaps.length, seen], [1, ["not kept", 4]]);
});

test("a gap waits for its first handler, too", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  peer.tell("gap", at(50));
  await caughtUp(socket, peer);

  await next(socket, "gap");
  const gaps = record(socket, "gap");
  await flushed();

  assert.deepEqual(gaps, []);
});

for (const [name, send] of Object.entries({
  "256 messages": peer => {
    for (let n = 0; n < 257; n++) peer.message(11 + n, n);
  },
  "1 MiB": peer => {
    for (let n = 0; n < 255; n++) peer.message(11 + n, n);
    peer.send(Buffer.concat([Buffer.from("266\n"), Buffer.alloc(2 ** 20)]));
    peer.message(267, "x");
  },
})) {
  test(`past ${name} they are dropped: the position is the newest, and a gap is told`, async t => {
    const server = await serve(t);
    const { socket, peer } = await server.ready();
    send(peer);
    await caughtUp(socket, peer);
    const gap = next(socket, "gap");
    const seen = record(socket, "message");
    await gap;
    await flushed();
    peer.cut();

    assert.deepEqual(seen, name === "1 MiB" ? ["x"] : []);
    assert.equal((await (await server.peer()).hello()).offset, 267);
  });
}

test("256 messages wait", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  for (let n = 0; n < 256; n++) peer.message(11 + n, n);
  await caughtUp(socket, peer);

  const gaps = record(socket, "gap");
  const seen = record(socket, "message");
  await flushed();

  assert.deepEqual([gaps, seen.length], [[], 256]);
});

test("a topic's messages wait for that topic's handler", async t => {
  const { socket, peer } = await (await serve(t)).ready({}, { topics: { "room:7": { ...at(20), recovered: true } } });
  record(socket, "message");
  peer.message("21 t=room:7", "a");
  await caughtUp(socket, peer);

  assert.equal((await next(socket.topic("room:7"), "message"))[0], "a");
});

test("close() in a handler: what waits behind is heard after the next connection, and once", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  for (const offset of [11, 12]) peer.message(offset, offset);
  await caughtUp(socket, peer);
  const seen = record(socket, "message");
  const off = socket.on("message", () => socket.close());
  await peer.closed;
  assert.deepEqual(seen, [11]);

  off();
  socket.connect();
  const again = await server.peer();
  const { offset } = await again.welcome();
  again.message(12, 12);
  await caughtUp(socket, again);

  assert.deepEqual([offset, seen], [11, [11, 12]]);
});

test("what the server said last is heard after it has closed for good", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const closed = next(socket, "state", state => state === "closed");
  peer.message("-", "you have been signed out");
  peer.close(4101);
  await closed;

  assert.equal((await next(socket, "message"))[0], "you have been signed out");
});

test("what was said before somebody signed in waits as well", async t => {
  const { socket, peer } = await (await serve(t)).ready({}, { user: null, recovered: false });
  peer.message("-", "for nobody");
  peer.ready({ user: "alice" });
  peer.message(11, "for alice");
  await caughtUp(socket, peer);

  const seen = record(socket, "message");
  await flushed();

  assert.deepEqual(seen, ["for nobody", "for alice"]);
});

test("what waits for one user is not told to another", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  peer.message("-", "for alice");
  peer.message(11, "for alice");
  peer.message("6 t=*", "for everyone");
  await caughtUp(socket, peer);

  peer.cut();
  const again = await server.peer();
  await again.welcome({ user: "bob", offset: 3 });
  again.message(4, "for bob");
  again.message("6 t=*", "for everyone");
  await caughtUp(socket, again);
  const seen = record(socket, "message");
  await flushed();

  assert.deepEqual(seen, ["for bob", "for everyone"]);
});
