/** What goes over a socket that is ready, in both directions. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { caughtUp, next, record, serve } from "./support/server.js";

test("JSON comes parsed, text stays a string even if it looks like JSON, binary is an ArrayBuffer", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const seen = record(socket, "message");

  peer.send('11\n{"n":1}');
  peer.send("12 x=text\nhello\nyou");
  peer.send("13\nnull");
  peer.send("14 x=text\n[1]");
  peer.send(Buffer.from("15\n\x00\n\xff", "latin1"));
  await caughtUp(socket, peer);

  const binary = seen.pop();
  assert.deepEqual(seen, [{ n: 1 }, "hello\nyou", null, "[1]"]);
  assert.ok(binary instanceof ArrayBuffer);
  assert.deepEqual([...new Uint8Array(binary)], [0, 10, 255]);
});

test("a message tells its offset; one that is not kept has none", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const seen = [];
  socket.on("message", (data, about) => seen.push([data, about.offset]));

  peer.message(11, "kept");
  peer.message("-", "not kept");
  await caughtUp(socket, peer);

  assert.deepEqual(seen, [["kept", 11], ["not kept", undefined]]);
});

test("a message that comes twice is delivered once", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const seen = record(socket, "message");

  for (const offset of [11, 12, 11, 12, 10, 13]) peer.message(offset, offset);
  await caughtUp(socket, peer);

  assert.deepEqual(seen, [11, 12, 13]);
});

test("junk is passed over", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const seen = record(socket, "message");
  const junk = [
    "", "!", "!\n", "!job", "!job x\n{", "!job\n{", "!job\nnull", "!job\n{}", '!job\n{"job":7}', "!job\n[]", "!chunk\n{}",
    "!ready", "!gap\n7", "!gap\n{}", "!constructor\n{}", "!__proto__\n{}", "!what\n{}", "!draining\n{}", "no line", "x\ny",
    "-1\n1", "1.5\n1", "11\nx", "11 \n1", "11 x=%\n1", "!joined\n{}", "!left\n{}", "!members\n{}", "!renewed\n{}", "1e9\n1", `${"9".repeat(70)}\n1`, "x".repeat(2 ** 20), Buffer.alloc(2 ** 20, 65),
    Buffer.concat([Buffer.alloc(2 ** 20, 65), Buffer.from("\n")]), Buffer.from("!job\n{}"), Buffer.alloc(0),
  ];

  for (const frame of junk) peer.send(frame);
  peer.message(11, "still here");
  await caughtUp(socket, peer);

  assert.deepEqual(seen, ["still here"]);
  assert.equal(socket.state, "ready");
});

test("before ready nothing else is heard", async t => {
  const server = await serve(t);
  const socket = server.connect();
  const seen = ["message", "job", "gap"].map(name => record(socket, name));
  const peer = await server.peer();
  await peer.hello();

  for (const frame of ["11\n1", '!job\n{"job":{"id":"a","seq":1}}', '!gap\n{"epoch":"e","offset":1}']) peer.send(frame);
  await caughtUp(socket, peer);

  assert.deepEqual(seen.flat(), []);
});

test("junk does not spoil the position", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  record(socket, "message");

  for (const frame of ["!gap\n{}", '!gap\n{"epoch":7,"offset":1}', '!gap\n{"epoch":"e","offset":"1"}']) peer.send(frame);
  peer.message(11, "one");
  await caughtUp(socket, peer);
  peer.cut();

  const { epoch, offset } = await (await server.peer()).hello();
  assert.deepEqual([epoch, offset], ["epoch-1", 11]);
});

test("a handler that throws is reported, stops no other and loses no position", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  const reports = [];
  t.mock.method(console, "error", error => reports.push(error.message));
  socket.on("message", () => {
    throw new Error("broken handler");
  });
  const seen = record(socket, "message");

  peer.message(11, "one");
  await caughtUp(socket, peer);
  peer.cut();

  assert.deepEqual([seen, reports], [["one"], ["broken handler"]]);
  assert.equal((await (await server.peer()).hello()).offset, 11);
});

test("off() in a handler: who is off is not called any more, even for the same event", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const seen = [];
  socket.on("message", () => {
    offSecond();
    socket.on("message", data => seen.push(["late", data]));
  });
  const offSecond = socket.on("message", data => seen.push(["second", data]));
  socket.on("message", data => seen.push(["third", data]));

  peer.message(11, 1);
  await caughtUp(socket, peer);

  assert.deepEqual(seen, [["third", 1]]);
});

test("one function may be registered twice, and taken off once", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const seen = [];
  const handler = data => seen.push(data);
  const off = socket.on("message", handler);
  socket.on("message", handler);

  off();
  off();
  peer.message(11, 1);
  await caughtUp(socket, peer);

  assert.deepEqual(seen, [1]);
});

test("close() in a handler: nothing of that connection is heard any more", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  const seen = record(socket, "message");
  socket.on("message", () => socket.close());

  peer.message(11, 1);
  peer.message(12, 2);

  assert.equal(await peer.closed, 1000);
  assert.deepEqual([seen, socket.state], [[1], "closed"]);
});

test("before ready, messages wait; over 100 of them, send() throws", async t => {
  const server = await serve(t);
  const socket = server.connect({ timing: { burst: 1 } });
  for (let n = 0; n < 100; n++) socket.send(n);

  assert.throws(() => socket.send(100), /wait/);
  const peer = await server.peer();
  await peer.welcome();
  const frames = [];
  for (let n = 0; n < 100; n++) frames.push((await peer.frame()).split("\n")[1]);
  assert.deepEqual(frames, Array.from({ length: 100 }, (_, n) => String(n)));
});

test("what waited goes in bursts below the server's rate limit, and what is sent meanwhile keeps its place", async t => {
  const server = await serve(t);
  const socket = server.connect({ timing: { burst: 1e6 } });
  for (let n = 0; n < 45; n++) socket.send(n);
  const peer = await server.peer();

  await peer.welcome();
  for (let n = 0; n < 40; n++) await peer.frame();
  socket.send("later");
  const cancelled = socket.jobs.cancel("a"); // a control does not wait: it marks that nothing else has come
  peer.job(jobEnded);

  assert.equal((await peer.control())[0], "cancel");
  await cancelled;
});

const jobEnded = { id: "a", seq: 1, state: "cancelled" };

test("an error tells of which message it is", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const heard = next(socket, "error");

  const request = socket.send("x");
  peer.tell("error", { error: "no", request });

  assert.deepEqual(await heard, [{ error: "no", request }]);
});

test("a closed socket refuses to send, and says so of what waited", async t => {
  const socket = (await serve(t)).connect();
  const errors = record(socket, "error");
  const request = socket.send("x");

  socket.close();

  assert.deepEqual(errors, [{ error: "closed", request }]);
  assert.throws(() => socket.send("y"), /closed/);
});
