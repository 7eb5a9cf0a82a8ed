/** A request has one outcome: its answer, its error, or the end of its connection. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { caughtUp, inTime, next, record, serve } from "./support/server.js";

/** The id of the request that comes next, and what it asks. */
async function asked(peer) {
  const [header, body] = (await peer.frame()).toString().split("\n");
  assert.match(header, /^\d+ want=reply$/);
  return [header.split(" ")[0], body];
}

const rejects = (promise, error) => inTime(assert.rejects(promise, error), "no outcome");

for (const [name, reply, expected] of [
  ["JSON", id => `- r=${id}\n{"hits":[1]}`, { hits: [1] }],
  ["null", id => `- r=${id}\nnull`, null],
  ["text that looks like JSON", id => `- r=${id} x=text\n[1]`, "[1]"],
  ["bytes", id => Buffer.from(`- r=${id}\n\x01\n`), Uint8Array.of(1, 10).buffer],
]) {
  test(`the answer is ${name}, and no message`, async t => {
    const { socket, peer } = await (await serve(t)).ready();
    const seen = record(socket, "message");
    const answer = socket.request({ q: "a" });

    const [id, body] = await asked(peer);
    peer.send(reply(id));

    assert.deepEqual([await answer, body, seen], [expected, '{"q":"a"}', []]);
  });
}

test("answers find their request in any order; a second answer is nobody's", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const answers = [socket.request("a"), socket.request("b")];
  const ids = [(await asked(peer))[0], (await asked(peer))[0]];

  peer.message(`- r=${ids[1]}`, "B");
  peer.message(`- r=${ids[1]}`, "BB");
  peer.message(`- r=${ids[0]}`, "A");

  assert.deepEqual(await Promise.all(answers), ["A", "B"]);
});

test("the handler's error rejects it, and is no error event", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const errors = record(socket, "error");
  const answer = socket.request("a");

  peer.tell("error", { error: "no such book", request: (await asked(peer))[0] });

  await rejects(answer, /^Error: no such book$/);
  assert.deepEqual(errors, []);
});

test("no answer in time: the error says so, and what comes later is nobody's", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const seen = record(socket, "message");
  const answer = socket.request("a", { timeout: 20 });
  const [id] = await asked(peer);

  await rejects(answer, /^Error: no answer$/);
  peer.message(`- r=${id}`, "late");
  await caughtUp(socket, peer);

  assert.deepEqual(seen, []);
});

test("a timeout without end is none", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const answer = socket.request("a", { timeout: Infinity });
  const [id] = await asked(peer);
  await caughtUp(socket, peer);
  peer.message(`- r=${id}`, "A");

  assert.equal(await answer, "A");
});

test("a signal rejects it with its reason; one that was aborted before sends nothing", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const controller = new AbortController();
  const answer = socket.request("a", { signal: controller.signal });
  await asked(peer);

  controller.abort(new Error("the page has changed"));

  await rejects(answer, /the page has changed/);
  await rejects(socket.request("b", { signal: controller.signal }), /the page has changed/);
  socket.send("next");
  assert.match(await peer.frame(), /next/);
});

test("the connection it was sent on is lost, and so is the answer", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const answer = socket.request("a");
  await asked(peer);

  peer.cut();

  await rejects(answer, /^Error: connection lost$/);
});

test("not sent yet, it waits for the connection, within its timeout", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  peer.cut();
  await next(socket, "state", state => state === "offline");

  const answer = socket.request("a");
  const late = socket.request("b", { timeout: 0 });
  await rejects(late, /no answer/);
  (await server.peer()).cut();
  const again = await server.peer();
  await again.welcome();
  const [id, body] = await asked(again);
  again.message(`- r=${id}`, "A");

  assert.deepEqual([await answer, body], ["A", '"a"']);
  socket.send("next");
  assert.match(await again.frame(), /next/); // and not "b"
});

test("aborted before it was sent, it is not sent", async t => {
  const server = await serve(t);
  const socket = server.connect();
  const controller = new AbortController();
  const answer = socket.request("a", { signal: controller.signal });

  controller.abort();
  await rejects(answer, { name: "AbortError" });
  const peer = await server.peer();
  await peer.welcome();
  socket.send("next");

  assert.match(await peer.frame(), /next/);
});

for (const [name, ends, error] of [
  ["close()", async socket => socket.close(), /^Error: closed$/],
  ["a code at which it stays away", async (_, peer) => peer.close(4101), /^Error: closed$/],
]) {
  test(`${name} ends what was sent and what waits, with one error each`, async t => {
    const server = await serve(t);
    const socket = server.connect({ timing: { burst: 1e6 } });
    const errors = record(socket, "error");
    const answers = Array.from({ length: 45 }, (_, n) => socket.request(n));
    for (const answer of answers) answer.catch(() => {});
    const peer = await server.peer();
    await peer.welcome();
    for (let n = 0; n < 40; n++) await asked(peer);

    await ends(socket, peer);

    for (const answer of answers) await rejects(answer, error);
    await rejects(socket.request("a"), error);
    assert.deepEqual(errors, []);
  });
}

test("what waits for one user is not asked as another", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  peer.cut();
  await next(socket, "state", state => state === "offline");

  const answer = socket.request("alice's secret");
  await (await server.peer()).welcome({ user: "bob" });

  await rejects(answer, /the user has changed/);
});

test("bytes and files are asked as well; what JSON has no word for is rejected", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const answer = socket.request(new Blob(["ab"]));

  const [id, body] = await asked(peer);
  peer.message(`- r=${id}`, body.length);

  assert.equal(await answer, 2);
  await rejects(socket.request(10n), TypeError);
});

test("a Blob that cannot be read rejects its request alone", async t => {
  const { socket } = await (await serve(t)).ready();
  const errors = record(socket, "error");
  const blob = Object.assign(new Blob(["a"]), { arrayBuffer: async () => Promise.reject(new Error("gone")) });

  await rejects(socket.request(blob), /gone/);
  assert.deepEqual(errors, []);
});

test("volatile: sent at once when it is ready, else not at all", async t => {
  const server = await serve(t);
  const socket = server.connect();
  assert.equal(socket.send("early", { volatile: true }), false);
  const peer = await server.peer();
  const ready = next(socket, "state", state => state === "ready");
  await peer.welcome();
  await ready;

  const request = socket.send("now", { volatile: true });
  assert.equal(await peer.frame(), `${request}\n"now"`);
  peer.cut();
  await next(socket, "state", state => state === "offline");
  assert.equal(socket.send("late", { volatile: true }), false);
  socket.close();
  assert.equal(socket.send("too late", { volatile: true }), false);
});

test("volatile: it does not stand in line behind what waits", async t => {
  const server = await serve(t);
  const socket = server.connect({ timing: { burst: 1e6 } });
  for (let n = 0; n < 41; n++) socket.send(n);
  const peer = await server.peer();
  await peer.welcome();
  for (let n = 0; n < 40; n++) await peer.frame();
  socket.send("cursor", { volatile: true });

  assert.match(await peer.frame(), /cursor/);
});

test("headers name the connection, while there is one", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready({}, { connection: "c7" });
  assert.deepEqual(socket.headers, { "X-Socket-Connection": "c7" });

  peer.cut();
  await next(socket, "state", state => state === "offline");

  assert.deepEqual(socket.headers, {});
});

test("fetch() adds them for the socket's own origin, and never for another", async t => {
  const server = await serve(t);
  const { socket } = await server.ready();
  const asked = [];
  t.mock.method(globalThis, "fetch", async request => asked.push([request.url, request.method, Object.fromEntries(request.headers)]));
  const { origin } = new URL(server.url);
  const init = { method: "POST", headers: { a: "b" } };

  await socket.fetch(`${origin}/orders`, init);
  await socket.fetch(new Request(`${origin}/orders`, init));
  for (const other of ["http://example.com/orders", "http://127.0.0.1:1/orders", origin.replace("http", "https"), "data:,a"]) await socket.fetch(other);

  const sent = asked.map(([, , headers]) => headers["x-socket-connection"]);
  assert.deepEqual(sent, ["c1", "c1", undefined, undefined, undefined, undefined]);
  assert.deepEqual(asked.slice(0, 2).map(([url, method, { a }]) => [url, method, a]), Array(2).fill([`${origin}/orders`, "POST", "b"]));
});

test("a token that ends is renewed on the same connection", async t => {
  let tokens = 0;
  const { socket, peer } = await (await serve(t)).ready({ auth: async () => ({ token: ++tokens }) });
  const errors = record(socket, "error");

  peer.tell("expiring", { in: 30 });
  const [name, { auth, request }] = await peer.control();
  peer.tell("renewed", { expires_at: 1e9, request });
  peer.tell("expiring", { in: 30 });
  const [, second] = await peer.control();
  peer.tell("error", { error: "not accepted", request: second.request });
  await caughtUp(socket, peer);

  assert.deepEqual([name, auth, second.auth, typeof request], ["auth", { token: 2 }, { token: 3 }, "string"]);
  assert.deepEqual([errors.length, socket.state], [1, "ready"]); // the marker of caughtUp
});

test("a token that comes after its connection is gone is not said on the next one", async t => {
  const server = await serve(t);
  const tokens = [];
  const auth = () => new Promise(resolve => tokens.push(resolve));
  const socket = server.connect({ auth });
  await inTime((async () => { while (!tokens.length) await new Promise(setImmediate); })(), "auth was not called");
  tokens.shift()("first");
  const peer = await server.peer();
  await peer.welcome();
  peer.tell("expiring", { in: 30 });
  await caughtUp(socket, peer);
  const [late] = tokens.splice(0);

  peer.cut();
  await inTime((async () => { while (!tokens.length) await new Promise(setImmediate); })(), "auth was not called");
  tokens.shift()("third");
  const again = await server.peer();
  await again.welcome();
  await caughtUp(socket, again);
  late("second");
  await caughtUp(socket, again);
  socket.send("next");

  assert.match(await again.frame(), /next/);
});

for (const [name, auth] of Object.entries({ "without auth": undefined, "with an auth that throws": () => { if (calls++) throw new Error("no token"); } })) {
  test(`${name}, an expiring token is left to expire`, async t => {
    calls = 0;
    const { socket, peer } = await (await serve(t)).ready({ auth });

    peer.tell("expiring", { in: 30 });
    await caughtUp(socket, peer);
    socket.send("next");

    assert.match(await peer.frame(), /next/);
  });
}
let calls;
