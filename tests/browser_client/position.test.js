/** Where a client is: kept over reconnects and reloads, and told to the page when something may be missing. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { caughtUp, EPOCH, memory, next, placeIn, record, serve } from "./support/server.js";

const at = offset => ({ epoch: EPOCH, offset });

test("a client that was never here says nothing of a position, and hears of no gap", async t => {
  const server = await serve(t);
  const socket = server.connect();
  const gaps = record(socket, "gap");
  const peer = await server.peer();

  const hello = await peer.welcome({ recovered: false });
  await caughtUp(socket, peer);

  assert.deepEqual([hello, gaps], [{ topics: {} }, []]);
});

test("it comes back with the last message that it has processed", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  record(socket, "message");
  peer.message(11, 1);
  peer.message(12, 2);
  await caughtUp(socket, peer);

  peer.cut();

  assert.deepEqual(placeIn(await (await server.peer()).hello()), at(12));
});

test("a message counts when its handlers have been called, not before", async t => {
  const server = await serve(t);
  const storage = memory();
  const { socket, peer } = await server.ready({ storage });
  const during = next(socket, "message");
  socket.on("message", () => socket.close()); // it writes the position, in the middle of the message

  peer.message(11, 1);
  await during;

  assert.deepEqual(placeIn(JSON.parse(Object.values(storage.items)[0])), at(10));
});

test("the first message of a stream has offset 0, and counts", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready({}, { offset: -1 });
  const seen = record(socket, "message");
  for (const _ of [1, 2]) peer.message(0, "first");
  await caughtUp(socket, peer);

  peer.cut();

  assert.deepEqual([seen, placeIn(await (await server.peer()).hello())], [["first"], at(0)]);
});

test("not recovered, with a position for this user: gap", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  const gap = next(socket, "gap");

  peer.cut();
  await (await server.peer()).welcome({ recovered: false, offset: 50 });

  await gap;
});

test("recovered: no gap", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  const gaps = record(socket, "gap");

  peer.cut();
  const again = await server.peer();
  await again.welcome({ recovered: true });
  await caughtUp(socket, again);

  assert.deepEqual(gaps, []);
});

test("another user than before: no gap, and a position of its own", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready({}, { offset: 1000 });
  const gaps = record(socket, "gap");
  const seen = record(socket, "message");

  peer.cut();
  const again = await server.peer();
  await again.welcome({ user: "bob", recovered: false, offset: 5 });
  again.message(6, "for bob");
  await caughtUp(socket, again);

  assert.deepEqual([gaps, seen, socket.user], [[], ["for bob"], "bob"]);
});

test("signed in after the connection was made: a gap if this user was here before", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  const gaps = record(socket, "gap");

  peer.cut();
  const again = await server.peer();
  await again.welcome({ user: null, recovered: false, epoch: "other", offset: 0 });
  await caughtUp(socket, again);
  assert.deepEqual(gaps, []);
  again.tell("ready", { user: "alice", recovered: false, ...at(20) });
  await caughtUp(socket, again);

  assert.equal(gaps.length, 1);
});

test("without a user each connection is another one: a reconnect is a gap, a reload is not", async t => {
  const server = await serve(t);
  const storage = memory();
  const { socket, peer } = await server.ready({ storage }, { user: null, recovered: false });
  const gap = next(socket, "gap");

  peer.cut();
  await (await server.peer()).welcome({ user: null, recovered: false });

  await gap;
  assert.deepEqual(JSON.parse(Object.values(storage.items)[0]), { topics: { "*": at(5) } });
});

test("a connection without a user does not count by the position of the user before", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready({}, { offset: 1000 });
  const seen = record(socket, "message");

  peer.cut();
  const again = await server.peer();
  await again.welcome({ user: null, recovered: false, epoch: "other", offset: 0 });
  again.message(1, "for nobody");
  again.message(2000, "for nobody");
  await caughtUp(socket, again);
  again.cut();

  assert.deepEqual(seen, ["for nobody", "for nobody"]);
  assert.deepEqual(placeIn(await (await server.peer()).hello()), at(1000));
});

test("a !gap moves the position, and is told", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  const gap = next(socket, "gap");

  peer.tell("gap", { epoch: "epoch-2", offset: 3 });
  await gap;
  peer.cut();

  assert.deepEqual(placeIn(await (await server.peer()).hello()), { epoch: "epoch-2", offset: 3 });
});

test("in another epoch a lower offset is a new message", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const seen = record(socket, "message");

  peer.tell("gap", { epoch: "epoch-2", offset: 3 });
  peer.message(4, "new");
  await caughtUp(socket, peer);

  assert.deepEqual(seen, ["new"]);
});

test("a change of a job takes no place among the messages", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  record(socket, "message");

  peer.message(11, 1);
  peer.job({ id: "a", seq: 1, state: "started" });
  await caughtUp(socket, peer);
  peer.cut();

  assert.deepEqual(placeIn(await (await server.peer()).hello()), at(11));
});

test("after a reload it goes on where the page was", async t => {
  const server = await serve(t);
  const storage = memory();
  const { socket, peer } = await server.ready({ storage });
  record(socket, "message");
  peer.message(11, 1);
  await caughtUp(socket, peer);
  socket.close();

  const { hello } = await server.ready({ storage });

  assert.deepEqual(placeIn(hello), at(11));
});

test("after a reload that was too long: gap", async t => {
  const server = await serve(t);
  const storage = memory();
  (await server.ready({ storage })).socket.close();
  const socket = server.connect({ storage });
  const gap = next(socket, "gap");

  await (await server.peer()).welcome({ recovered: false });
  await gap;
});

test("many messages are few writes", async t => {
  const storage = memory();
  const { socket, peer } = await (await serve(t)).ready({ storage, timing: { save: 1e6 } });
  record(socket, "message");
  const before = storage.writes;

  for (let n = 0; n < 500; n++) peer.message(11 + n, n);
  await caughtUp(socket, peer);

  assert.equal(storage.writes, before);
});

test("the position is written a moment after a message", async t => {
  const storage = memory();
  const { socket, peer } = await (await serve(t)).ready({ storage, timing: { save: 1 } });
  record(socket, "message");
  const written = new Promise(resolve => {
    storage.setItem = (_, value) => resolve(JSON.parse(value));
  });

  peer.message(11, 1);

  const { user, topics, ...place } = await written;
  assert.deepEqual([user, topics, placeIn(place)], ["alice", { "*": at(5) }, at(11)]);
});

for (const [name, storage] of Object.entries({
  "throws": { getItem() { throw new Error("forbidden"); }, setItem() { throw new Error("full"); } },
  "holds junk": memory(new Proxy({}, { get: () => '{"epoch":7,"offset":"x"}', set: () => true })),
  "holds null": memory(new Proxy({}, { get: () => "null", set: () => true })),
})) {
  test(`a storage that ${name} breaks nothing`, async t => {
    const server = await serve(t);
    const { socket, peer, hello } = await server.ready({ storage });
    const seen = record(socket, "message");

    peer.message(11, 1);
    await caughtUp(socket, peer);

    assert.deepEqual([hello, seen], [{ topics: {} }, [1]]);
  });
}

test("two sockets of one page have two positions; the next page finds both", async t => {
  const server = await serve(t);
  const storage = memory();
  const first = await server.ready({ storage }, { offset: 10 });
  const second = await server.ready({ storage }, { offset: 20 });

  assert.equal(server.open, 2);
  first.socket.close();
  second.socket.close();
  const hellos = [(await server.ready({ storage })).hello, (await server.ready({ storage })).hello].map(placeIn);

  assert.deepEqual(hellos, [at(10), at(20)]);
});
