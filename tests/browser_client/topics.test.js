/** Topics: joined by the page or by the server, each with a position of its own. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { caughtUp, EPOCH, memory, next, record, serve } from "./support/server.js";

const at = offset => ({ epoch: EPOCH, offset });
const joined = (offset, more) => ({ ...at(offset), recovered: true, ...more });

/** Answer the join of *name* that comes next. */
async function admit(peer, name, answer = joined(20, { recovered: false })) {
  const [control, { topic, request }] = await peer.control();
  assert.deepEqual([control, topic], ["join", name]);
  peer.tell("joined", { topic, request, ...answer });
}

/** A client that has joined room:7 at 20. */
async function inRoom(t, options) {
  const server = await serve(t);
  const { socket, peer } = await server.ready(options);
  const room = socket.topic("room:7");
  const seen = record(room, "message");
  await admit(peer, "room:7");
  await caughtUp(socket, peer);
  return { server, socket, peer, room, seen };
}

test("a topic is joined at once when the socket is ready, else as soon as it is", async t => {
  const server = await serve(t);
  const socket = server.connect();
  const early = socket.topic("room:7");
  const peer = await server.peer();
  const { topics } = await peer.welcome();
  await admit(peer, "room:7");
  const late = socket.topic("room:8");
  await admit(peer, "room:8");
  await caughtUp(socket, peer);

  assert.deepEqual([topics, early.state, late.state, late.name], [{}, "joined", "joined", "room:8"]);
});

test("what waits to be sent goes after the topics are asked for", async t => {
  const server = await serve(t);
  const socket = server.connect();
  socket.send("in the room");
  socket.topic("room:7");
  const peer = await server.peer();
  await peer.welcome();
  await admit(peer, "room:7");

  assert.match(await peer.frame(), /in the room/);
});

test("the same name is the same object, while it is joined, and is asked for once", async t => {
  const { socket, peer, room } = await inRoom(t);

  assert.equal(socket.topic("room:7"), room);
  socket.send("next");

  assert.match(await peer.frame(), /next/);
});

for (const name of ["", "*", "a b", "é", "-a", "a".repeat(201), "a\nb"]) {
  test(`${JSON.stringify(name)} is the name of no topic`, async t => {
    const socket = (await serve(t)).connect();

    assert.throws(() => socket.topic(name), TypeError);
  });
}

test("messages go to their topic, with offset and name, and to nobody else", async t => {
  const { socket, peer, room, seen } = await inRoom(t);
  const mine = record(socket, "message");
  const abouts = [];
  room.on("message", (data, about) => abouts.push(about));

  peer.message("21 t=room:7", "kept");
  peer.message("- t=room:7 k=typing", "not kept");
  peer.message("22 t=room:8", "of another");
  await caughtUp(socket, peer);

  assert.deepEqual([seen, mine], [["kept", "not kept"], []]);
  assert.deepEqual(abouts, [{ offset: 21, topic: "room:7" }, { offset: undefined, topic: "room:7" }]);
});

test("positions of topics are their own: the same offset of two streams is two messages", async t => {
  const { socket, peer, seen } = await inRoom(t);
  const mine = record(socket, "message");

  peer.message("21 t=room:7", "a");
  peer.message("21 t=room:7", "again");
  peer.message("21", "mine");
  peer.message("21 t=*", "everyone's");
  await caughtUp(socket, peer);

  assert.deepEqual([seen, mine], [["a"], ["mine", "everyone's"]]);
});

test("everyone's messages come with mine, and say so; their position comes back in the hello", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  const seen = [];
  socket.on("message", (data, { offset, topic }) => seen.push([data, offset, topic]));

  peer.message("6 t=*", "kept");
  peer.message("- t=*", "not kept");
  await caughtUp(socket, peer);
  peer.cut();

  assert.deepEqual(seen, [["kept", 6, "*"], ["not kept", undefined, "*"]]);
  assert.deepEqual((await (await server.peer()).hello()).topics, { "*": at(6) });
});

test("what everyone was sent and this client has missed is a gap of the socket", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  const gaps = record(socket, "gap");

  peer.cut();
  const again = await server.peer();
  await again.welcome({ topics: { "*": { ...at(90), recovered: false } } });
  await caughtUp(socket, again);
  again.tell("gap", { topic: "*", ...at(95) });
  await caughtUp(socket, again);

  assert.equal(gaps.length, 2);
});

test("after a reconnect all topics are in the hello, and joined with the ready: one round trip", async t => {
  const { server, socket, peer, room, seen } = await inRoom(t);
  const states = record(room, "state");
  const gaps = record(room, "gap");
  peer.message("21 t=room:7", 1);
  await caughtUp(socket, peer);

  peer.cut();
  const again = await server.peer();
  const { topics, connection } = await again.welcome({ topics: { "room:7": joined(21) } });
  again.message("21 t=room:7", 1);
  again.message("22 t=room:7", 2);
  await caughtUp(socket, again);
  socket.send("next");

  assert.deepEqual([topics["room:7"], connection], [at(21), "c1"]);
  assert.deepEqual([states, seen, gaps], [["joining", "joined"], [1, 2], []]);
  assert.match(await again.frame(), /next/);
});

test("a topic that the ready does not answer for is asked for, with its position", async t => {
  const { server, socket, peer } = await inRoom(t);

  peer.cut();
  const again = await server.peer();
  await again.welcome();

  assert.deepEqual((await again.control())[1].since, at(20));
});

for (const [name, tell] of Object.entries({
  "that was not recovered": async ({ server, peer }) => {
    peer.cut();
    const again = await server.peer();
    await again.welcome({ topics: { "room:7": joined(50, { recovered: false }) } });
    return again;
  },
  "of which the server says so": async ({ peer }) => {
    peer.tell("gap", { topic: "room:7", ...at(50) });
    return peer;
  },
})) {
  test(`a gap of a topic ${name} is told there, not to the socket`, async t => {
    const client = await inRoom(t);
    const gaps = record(client.room, "gap");
    const others = record(client.socket, "gap");

    const peer = await tell(client);
    peer.message("50 t=room:7", "before");
    peer.message("51 t=room:7", "after");
    await caughtUp(client.socket, peer);

    assert.deepEqual([gaps.length, others, client.seen], [1, [], ["after"]]);
  });
}

test("a first join is no gap", async t => {
  const { socket, peer, room } = await inRoom(t);
  const gaps = record(room, "gap");
  await caughtUp(socket, peer);

  assert.deepEqual(gaps, []);
});

test("after a reload a topic goes on where it was, if the page joins it again", async t => {
  const storage = memory();
  const { server, socket, peer } = await inRoom(t, { storage });
  socket.topic("room:8");
  await admit(peer, "room:8", joined(30));
  await caughtUp(socket, peer);
  peer.message("21 t=room:7", 1);
  await caughtUp(socket, peer);
  socket.close();

  const reloaded = server.connect({ storage });
  reloaded.topic("room:7");
  const again = await server.peer();
  const { topics } = await again.welcome({ topics: { "room:7": joined(21) } });
  await caughtUp(reloaded, again);
  reloaded.topic("room:8");
  const [, late] = await again.control();

  assert.deepEqual(topics, { "room:7": at(21), "*": at(5) });
  assert.deepEqual([late.topic, late.since], ["room:8", at(30)]);
});

test("a topic that was left has no position any more", async t => {
  const storage = memory();
  const { server, socket, room } = await inRoom(t, { storage });
  room.leave();
  socket.close();

  const reloaded = server.connect({ storage });
  reloaded.topic("room:7");

  assert.deepEqual((await (await server.peer()).hello()).topics, { "*": at(5) });
});

test("nor has one that was left after a reload", async t => {
  const storage = memory();
  const { server, socket } = await inRoom(t, { storage });
  socket.close();
  const reloaded = server.connect({ storage });
  reloaded.topic("room:7").leave();
  reloaded.close();

  const { topics } = JSON.parse(Object.values(storage.items)[0]);

  assert.deepEqual(topics, { "*": at(5) });
});

test("storage keeps the positions of a hundred topics, not of all that were ever joined", async t => {
  const storage = memory({});
  const server = await serve(t);
  const names = Array.from({ length: 150 }, (_, n) => `room:${n}`);
  for (const part of [names.slice(0, 75), names.slice(75)]) {
    const socket = server.connect({ storage });
    for (const name of part) socket.topic(name);
    const peer = await server.peer();
    await peer.welcome({ topics: Object.fromEntries(part.map(name => [name, joined(1)])) });
    await caughtUp(socket, peer);
    socket.close();
  }

  assert.equal(Object.keys(JSON.parse(Object.values(storage.items)[0]).topics).length, 100);
});

test("members: the whole list, sorted, when joined and after each change; repeats are none", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const room = socket.topic("room:7");
  const lists = record(room, "members");

  await admit(peer, "room:7", joined(20, { members: ["bob", "ada"] }));
  for (const [added, gone] of [[["cy"], []], [["cy"], []], [[], ["bob"]], [[], ["bob"]]]) {
    peer.tell("members", { topic: "room:7", joined: added, left: gone });
  }
  await caughtUp(socket, peer);

  assert.deepEqual(lists, [["ada", "bob"], ["ada", "bob", "cy"], ["ada", "cy"]]);
  assert.deepEqual(room.members, ["ada", "cy"]);
});

test("members after a reconnect are those of the new ready", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  const room = socket.topic("room:7");
  await admit(peer, "room:7", joined(20, { members: ["ada", "bob"] }));
  await caughtUp(socket, peer);

  peer.cut();
  const again = await server.peer();
  await again.welcome({ topics: { "room:7": joined(20, { members: ["ada"] }) } });
  await caughtUp(socket, again);

  assert.deepEqual(room.members, ["ada"]);
});

test("where nobody keeps members there are none", async t => {
  const { room } = await inRoom(t);

  assert.deepEqual(room.members, []);
});

test("leave(): said to the server, left at once, nothing heard and not joined again", async t => {
  const { server, socket, peer, room, seen } = await inRoom(t);
  const states = [];
  room.on("state", (...about) => states.push(about));

  room.leave();
  room.leave();
  const [name, { topic, request }] = await peer.control();
  peer.message("21 t=room:7", "late");
  peer.tell("left", { topic, why: "asked", request });
  await caughtUp(socket, peer);
  peer.cut();

  assert.deepEqual([name, topic, states, seen], ["leave", "room:7", [["left", "asked"]], []]);
  assert.deepEqual((await (await server.peer()).hello()).topics, { "*": at(5) });
});

test("left and joined again in one breath: late answers to the former do not count", async t => {
  const { socket, peer, room } = await inRoom(t);

  room.leave();
  const again = socket.topic("room:7");
  const seen = record(again, "message");
  await null; // it is asked for
  again.leave();
  const third = socket.topic("room:7");
  third.on("message", data => seen.push(data));
  const controls = [];
  for (let n = 0; n < 4; n++) controls.push((await peer.control())[1].request);
  peer.tell("left", { topic: "room:7", why: "asked", request: controls[0] });
  peer.tell("joined", { topic: "room:7", request: controls[1], ...joined(40) });
  peer.message("41 t=room:7", "between");
  peer.tell("left", { topic: "room:7", why: "asked", request: controls[2] });
  await caughtUp(socket, peer);

  assert.deepEqual([room.state, again.state, third.state, seen], ["left", "left", "joining", []]);
  peer.tell("joined", { topic: "room:7", request: controls[3], ...joined(50) });
  await caughtUp(socket, peer);
  assert.equal(third.state, "joined");
});

test("left between hello and ready: the server is told", async t => {
  const { server, peer, room } = await inRoom(t);
  peer.cut();
  const again = await server.peer();
  await again.hello();

  room.leave();
  again.ready({ topics: { "room:7": joined(20) } });
  const [name, { topic }] = await again.control();

  assert.deepEqual([name, topic, room.state], ["leave", "room:7", "left"]);
});

test("an error that answers a leave is nobody's", async t => {
  const { socket, peer, room } = await inRoom(t);
  const errors = record(socket, "error");

  room.leave();
  const [, { request }] = await peer.control();
  peer.tell("error", { error: "no such topic", request });
  await caughtUp(socket, peer);

  assert.equal(errors.length, 1); // the marker of caughtUp
});

test("removed by the server: left, and not joined again until topic() is called", async t => {
  const { server, socket, peer, room } = await inRoom(t);
  const states = [];
  room.on("state", (...about) => states.push(about));

  peer.tell("left", { topic: "room:7", why: "removed" });
  await caughtUp(socket, peer);
  peer.cut();
  const again = await server.peer();
  const { topics } = await again.welcome();
  socket.topic("room:7");
  await admit(again, "room:7");
  await caughtUp(socket, again);

  assert.deepEqual([states, topics], [[["left", "removed"]], { "*": at(5) }]);
  assert.deepEqual([room.state, socket.topic("room:7").state], ["left", "joined"]);
});

test("refused: it says so, is nobody else's error, and is not tried again by itself", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  const errors = record(socket, "error");
  const room = socket.topic("room:7");
  const states = [];
  room.on("state", (...about) => states.push(about));

  const [, { request }] = await peer.control();
  peer.tell("error", { error: "members only", request });
  await caughtUp(socket, peer);
  peer.cut();
  const again = await server.peer();
  await again.welcome();
  socket.topic("room:7");
  await admit(again, "room:7");

  assert.deepEqual([room.state, room.error, states], ["refused", "members only", [["refused", "members only"]]]);
  assert.equal(errors.length, 1); // the marker of caughtUp
});

test("refused when it comes back: the ready says so", async t => {
  const { server, socket, peer, room } = await inRoom(t);

  peer.cut();
  const again = await server.peer();
  await again.welcome({ topics: { "room:7": { error: "members only" } } });
  await caughtUp(socket, again);

  assert.deepEqual([room.state, room.error], ["refused", "members only"]);
});

test("joined by the server: the page gets the topic, with all that comes of it", async t => {
  const server = await serve(t);
  const socket = server.connect();
  const heard = [];
  socket.on("joined", room => {
    room.on("state", state => heard.push([room.name, state]));
    room.on("members", ids => heard.push([room.name, ids]));
    room.on("message", data => heard.push([room.name, data]));
  });
  const peer = await server.peer();

  await peer.welcome({ topics: { "room:1": joined(1, { members: ["ada"] }) } });
  peer.message("2 t=room:1", "a");
  peer.tell("joined", { topic: "room:2", ...joined(7) });
  peer.message("8 t=room:2", "b");
  await caughtUp(socket, peer);

  assert.deepEqual(heard, [
    ["room:1", "joined"], ["room:1", ["ada"]], ["room:1", "a"], ["room:2", "joined"], ["room:2", []], ["room:2", "b"],
  ]);
  assert.equal(socket.topic("room:1").state, "joined");
});

test("joined by the server while the page's own join is under way: once", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const told = record(socket, "joined");
  const room = socket.topic("room:7");
  const states = record(room, "state");
  const gaps = record(room, "gap");

  const [, { request }] = await peer.control();
  peer.tell("joined", { topic: "room:7", ...joined(20) });
  peer.tell("joined", { topic: "room:7", request, ...joined(20, { recovered: false }) });
  await caughtUp(socket, peer);

  assert.deepEqual([told, states, gaps], [[], ["joined"], []]);
});

test("joined by the server after the page has left it: the page gets another topic", async t => {
  const { server, socket, peer, room } = await inRoom(t);
  const told = record(socket, "joined");
  peer.cut();
  const again = await server.peer();
  await again.welcome({ topics: { "room:7": joined(20) } });
  await caughtUp(socket, again);

  room.leave();
  again.tell("joined", { topic: "room:7", ...joined(20) });
  await caughtUp(socket, again);

  assert.deepEqual(told.map(({ name, state }) => [name, state]), [["room:7", "joined"]]);
});

test("a topic that a handler of ready joins is asked for once", async t => {
  const server = await serve(t);
  const socket = server.connect();
  socket.on("state", state => state === "ready" && socket.topic("room:7"));
  const peer = await server.peer();
  await peer.welcome();

  assert.equal((await peer.control())[0], "join");
  socket.send("next");

  assert.match(await peer.frame(), /next/);
});

test("a socket that is closed and opened again joins its topics again", async t => {
  const { server, socket, peer, room } = await inRoom(t);
  const states = record(room, "state");

  socket.close();
  await peer.closed;
  socket.connect();
  const again = await server.peer();
  await again.welcome({ topics: { "room:7": joined(20) } });
  await caughtUp(socket, again);

  assert.deepEqual(states, ["joining", "joined"]);
});

test("ready again on one connection leaves topics as they are", async t => {
  const { socket, peer, room, seen } = await inRoom(t);
  const states = record(room, "state");
  const gaps = [record(room, "gap"), record(socket, "gap")];
  peer.message("21 t=room:7", 1);

  peer.ready({ user: "bob", recovered: false, topics: { "*": { ...at(5), recovered: false }, "room:7": joined(20, { recovered: false }) } });
  peer.message("22 t=room:7", 2);
  await caughtUp(socket, peer);

  assert.deepEqual([states, gaps, seen], [[], [[], []], [1, 2]]);
});

test("what cannot be said of a topic now is asked again, from the same place", async t => {
  const { server, socket, peer, room } = await inRoom(t, { timing: { burst: 1 } });
  const states = record(room, "state");
  peer.message("21 t=room:7", 1);
  await caughtUp(socket, peer);
  const other = socket.topic("room:8");
  for (let tries = 0; tries < 3; tries++) {
    const [name, { topic, request }] = await peer.control();
    assert.deepEqual([name, topic], ["join", "room:8"]);
    peer.tell("error", { error: "Try again later", request, temporary: true });
  }
  await admit(peer, "room:8");
  await caughtUp(socket, peer);

  assert.deepEqual([other.state, other.error, states, server.count], ["joined", undefined, [], 1]);
});

test("a hundred topics at once go in bursts below the server's rate limit", async t => {
  const { socket, peer } = await (await serve(t)).ready({ timing: { burst: 1 } });
  const rooms = Array.from({ length: 100 }, (_, number) => socket.topic(`room:${number}`));
  for (const { name } of rooms) await admit(peer, name);
  await caughtUp(socket, peer);

  assert(rooms.every(({ state }) => state === "joined"));
});

test("the rest of a burst of topics waits", async t => {
  const { socket, peer } = await (await serve(t)).ready({ timing: { burst: 1e6 } });
  for (let number = 0; number < 41; number++) socket.topic(`room:${number}`);
  for (let number = 0; number < 40; number++) await admit(peer, `room:${number}`);
  await caughtUp(socket, peer);

  assert.equal(socket.topic("room:40").state, "joining");
});

test("what is said of a topic that was left meanwhile is nobody's", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const errors = record(socket, "error");
  const room = socket.topic("room:7");
  const [, { request }] = await peer.control();
  room.leave();
  await peer.control();
  peer.tell("error", { error: "closed", request });
  await caughtUp(socket, peer);

  assert.deepEqual([room.state, errors.map(({ error }) => error).includes("closed")], ["left", false]);
});

test("to leave one topic that nobody asked for hides nothing of the others", async t => {
  const { server, socket, peer, room } = await inRoom(t);
  peer.tell("joined", { topic: "room:8", ...joined(1) });
  await caughtUp(socket, peer);
  peer.cut();
  const again = await server.peer();
  await again.welcome({ topics: { "room:7": joined(20), "room:8": joined(1) } });
  await caughtUp(socket, again);

  socket.topic("room:8").leave();
  again.tell("left", { topic: "room:7", why: "removed" });
  await caughtUp(socket, again);

  assert.equal(room.state, "left");
});
