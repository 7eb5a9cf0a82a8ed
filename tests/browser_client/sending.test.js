/** What `send` takes, and in which order it goes. */

import assert from "node:assert/strict";
import { openAsBlob } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { test } from "node:test";
import vm from "node:vm";
import { Window } from "happy-dom";
import { next, record, serve } from "./support/server.js";

const binary = (id, ...data) => Buffer.concat([Buffer.from(`${id}\n`), Buffer.from(data)]);

/** A Blob whose content comes when the test says so, or fails. */
function slowBlob(...data) {
  const blob = new Blob([new Uint8Array(data)]);
  const reading = new Promise((resolve, reject) => Object.assign(blob, { reject, resolve: () => resolve(new Uint8Array(data).buffer) }));
  return Object.assign(blob, { arrayBuffer: () => reading });
}

test("what is sent: JSON as text, bytes as binary, each with the id that send() returns", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const bytes = new Uint8Array([9, 0, 10, 255, 9]);

  const ids = [
    { n: 1 }, "text", null, bytes.buffer, bytes.subarray(1, 4), new DataView(bytes.buffer, 3), new Blob([bytes]), new File([bytes], "a"),
  ].map(data => socket.send(data));
  const frames = [];
  for (const _ of ids) frames.push(await peer.frame());

  assert.deepEqual(frames.slice(0, 3), [`${ids[0]}\n{"n":1}`, `${ids[1]}\n"text"`, `${ids[2]}\nnull`]);
  const all = id => binary(id, 9, 0, 10, 255, 9);
  assert.deepEqual(frames.slice(3), [
    all(ids[3]), binary(ids[4], 0, 10, 255), binary(ids[5], 255, 9), all(ids[6]), all(ids[7]),
  ]);
});

const DOCUMENT = new Window().document;
const NO_JSON = {
  undefined, NaN: NaN, Infinity: -Infinity, BigInt: 10n, Symbol: Symbol("a"), function: () => 1, class: class A {},
  Map: new Map([[1, 2]]), Set: new Set([1]), WeakMap: new WeakMap(), RegExp: /a/, Error: new TypeError("a"), Promise: Promise.resolve(1),
  generator: (function* () {})(), iterator: [1].values(), arguments: (function () { return arguments; })(1),
  URLSearchParams: new URLSearchParams("a=1"), FormData: new FormData(), Headers: new Headers(), Response: new Response("a"),
  ReadableStream: new ReadableStream(), Event: new Event("a"), "DOM node": DOCUMENT.createElement("p"), "invalid Date": new Date(NaN),
  "Map in a Proxy": new Proxy(new Map(), {}), "Map of another realm": vm.runInNewContext("new Map([[1, 2]])"),
  globalThis, Math,
};
const NO_JSON_INSIDE = { Uint8Array: new Uint8Array(2), ArrayBuffer: new ArrayBuffer(2), Blob: new Blob(["a"]) };

for (const [name, value] of Object.entries(NO_JSON)) {
  test(`${name} is refused where it is sent, and nothing goes out`, async t => {
    const { socket, peer } = await (await serve(t)).ready();

    assert.throws(() => socket.send(value), TypeError);
    const request = socket.send("next");

    assert.equal(await peer.frame(), `${request}\n"next"`);
  });
}

for (const [name, value] of Object.entries({ ...NO_JSON, ...NO_JSON_INSIDE })) {
  test(`${name} is refused within an object and an array, too`, async t => {
    const socket = (await serve(t)).connect();

    if (value !== undefined) assert.throws(() => socket.send({ text: "a", deep: { value } }), TypeError);
    assert.throws(() => socket.send([[1, value]]), TypeError);
  });
}

test("the TypeError says where it is, what it is, and what to write", async t => {
  const socket = (await serve(t)).connect();

  assert.throws(() => socket.send({ order: { id: 10n } }), /no BigInt \(at "id"\): send text/);
  assert.throws(() => socket.send(new Map()), /no Map/);
  assert.throws(() => socket.send([0, NaN]), /no NaN \(at "1"\)/);
});

class Point {
  x = 1;
  get sum() {
    return 2;
  }
}

const IS_JSON = {
  "a property that is undefined is left out, as JSON does": [{ a: undefined, b: 1 }, '{"b":1}'],
  "a date is its text": [{ at: new Date(0) }, '{"at":"1970-01-01T00:00:00.000Z"}'],
  "a URL is its text": [new URL("http://a/b"), '"http://a/b"'],
  "an instance is its fields": [new Point(), '{"x":1}'],
  "toJSON is asked": [[{ toJSON: () => [1] }], "[[1]]"],
  "an object without a prototype": [Object.assign(Object.create(null), { a: [] }), '{"a":[]}'],
  "an object of another realm": [vm.runInNewContext("({ a: [1] })"), '{"a":[1]}'],
  "an object and an array behind a Proxy": [new Proxy({ a: new Proxy([1], {}) }, {}), '{"a":[1]}'],
  "numbers, flags and null": [[0, -1.5, 1e300, true, null, "🙂"], '[0,-1.5,1e+300,true,null,"🙂"]'],
};

for (const [name, [value, json]] of Object.entries(IS_JSON)) {
  test(`what JSON has a word for goes: ${name}`, async t => {
    const { socket, peer } = await (await serve(t)).ready();

    const request = socket.send(value);

    assert.equal(await peer.frame(), `${request}\n${json}`);
  });
}

test("bytes of another realm are bytes", async t => {
  const { socket, peer } = await (await serve(t)).ready();

  const request = socket.send(vm.runInNewContext("new Uint8Array([7]).buffer"));

  assert.deepEqual(await peer.frame(), binary(request, 7));
});

test("what is sent after a Blob arrives after it, however long that is read", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const [first, second] = [slowBlob(1), slowBlob(2)];

  const ids = ["before", first, "between", second, "after"].map(data => socket.send(data));
  second.resolve();
  await second.arrayBuffer();
  first.resolve();
  const frames = [];
  for (const _ of ids) frames.push(await peer.frame());

  assert.deepEqual(frames, [
    `${ids[0]}\n"before"`, binary(ids[1], 1), `${ids[2]}\n"between"`, binary(ids[3], 2), `${ids[4]}\n"after"`,
  ]);
});

test("a Blob that cannot be read is an error of its request, and what is behind it goes", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const folder = await mkdtemp("blob-");
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(`${folder}/a`, "before");
  const blob = await openAsBlob(`${folder}/a`);
  await writeFile(`${folder}/a`, "it has changed"); // as a user's file can, once it is chosen
  const failed = next(socket, "error");

  const request = socket.send(blob);
  const after = socket.send("after");

  assert.match((await failed)[0].error, /read/);
  assert.equal((await failed)[0].request, request);
  assert.equal(await peer.frame(), `${after}\n"after"`);
});

test("a Blob that is read while the socket is away waits as others do", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  const blob = slowBlob(1);
  const ids = [socket.send(blob), socket.send("after")];
  peer.cut();
  await next(socket, "state", state => state === "offline");

  blob.resolve();
  const again = await server.peer();
  await again.welcome();

  assert.deepEqual([await again.frame(), await again.frame()], [binary(ids[0], 1), `${ids[1]}\n"after"`]);
});

test("a Blob that was given up is neither sent nor told of again, whether it can be read or not", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  const errors = record(socket, "error");
  const blobs = [slowBlob(1), slowBlob(2)];
  const ids = blobs.map(blob => socket.send(blob));

  peer.cut();
  const again = await server.peer();
  await again.welcome({ user: "bob" });
  await next(socket, "state", state => state === "ready");
  blobs[0].resolve();
  blobs[1].reject(new Error("late"));
  await new Promise(setImmediate);
  const request = socket.send("of bob");

  assert.equal(await again.frame(), `${request}\n"of bob"`);
  assert.deepEqual(errors, ids.map(request => ({ error: "the user has changed", request })));
});

test("a Blob counts to the burst: what waits behind it goes no sooner", async t => {
  const server = await serve(t);
  const socket = server.connect({ timing: { burst: 1e6 } });
  const blob = slowBlob(1);
  for (let n = 0; n < 40; n++) socket.send(n);
  socket.send(blob);
  const peer = await server.peer();
  await peer.welcome();
  for (let n = 0; n < 40; n++) await peer.frame();

  blob.resolve();
  await blob.arrayBuffer();
  await new Promise(setImmediate);
  socket.jobs.cancel("a").catch(() => {}); // a control does not wait: it marks that nothing else has come

  assert.equal((await peer.control())[0], "cancel");
});

test("auth that JSON has no word for is told as the reason, and asked again", async t => {
  const server = await serve(t);
  const tokens = [new Map([["token", 1]]), "token"];
  const socket = server.connect({ auth: () => tokens.shift() });

  const [, why] = await next(socket, "state", state => state === "offline");

  assert.match(why.reason, /no Map/);
  assert.equal((await (await server.peer()).hello()).auth, "token");
});
