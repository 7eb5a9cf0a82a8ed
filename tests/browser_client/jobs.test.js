/** The jobs of the user, as the server tells of them. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { hasEnded } from "qrsocket";
import { caughtUp, jobOf, next, record, serve } from "./support/server.js";

const named = jobs => jobs.map(job => `${job.id}${job.seq}`);

test("ready brings the jobs: an event for each, and a list with the newest first", async t => {
  const server = await serve(t);
  const socket = server.connect();
  const seen = record(socket, "job");
  const peer = await server.peer();

  await peer.welcome({ jobs: [jobOf("c", 3), jobOf("a", 1)] });
  peer.job(jobOf("b", 2));
  await caughtUp(socket, peer);

  assert.deepEqual([named(seen), named(socket.jobs.list())], [["a1", "c3", "b2"], ["c3", "b2", "a1"]]);
  assert.deepEqual([socket.jobs.get("a"), socket.jobs.get("z")], [jobOf("a", 1), undefined]);
});

test("a job never goes back: a lower or equal seq is passed over", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const seen = record(socket, "job");

  for (const seq of [2, 1, 2, 3]) peer.job(jobOf("a", seq));
  await caughtUp(socket, peer);

  assert.deepEqual(named(seen), ["a2", "a3"]);
});

test("a job that was said to be lost may still turn out well", async t => {
  const { socket, peer } = await (await serve(t)).ready();

  peer.job(jobOf("a", 1, { state: "lost" }));
  peer.job(jobOf("a", 2, { state: "succeeded" }));
  await caughtUp(socket, peer);

  assert.equal(socket.jobs.get("a").state, "succeeded");
});

test("the jobs of a new ready replace what is known, but for what is known better", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready({}, { jobs: [jobOf("a", 5), jobOf("b", 6), jobOf("c", 7)] });
  const seen = record(socket, "job");

  peer.cut();
  const again = await server.peer();
  await again.welcome({ jobs: [jobOf("d", 9), jobOf("c", 8), jobOf("b", 4)] });
  await caughtUp(socket, again);

  assert.deepEqual(named(seen), ["c8", "d9"]);
  assert.deepEqual(named(socket.jobs.list()), ["d9", "c8", "b6"]);
});

test("the jobs of a former user are forgotten", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready({}, { jobs: [jobOf("a", 5)] });

  peer.cut();
  const again = await server.peer();
  await again.welcome({ user: "bob", jobs: [jobOf("a", 1)] });
  await caughtUp(socket, again);

  assert.deepEqual(named(socket.jobs.list()), ["a1"]);
});

test("a page that stays open for days keeps the running jobs and some of the ended ones", async t => {
  const { socket, peer } = await (await serve(t)).ready();

  peer.job(jobOf("running", 1));
  for (let n = 2; n < 302; n++) peer.job(jobOf(`j${n}`, n, { state: "succeeded" }));
  await caughtUp(socket, peer);

  const list = socket.jobs.list();
  assert.deepEqual([list.length, list[0].id, list.at(-1).id], [200, "j301", "running"]);
});

test("watch calls now if the job is known, and on each change, until it is off", async t => {
  const { socket, peer } = await (await serve(t)).ready({}, { jobs: [jobOf("a", 1)] });
  const known = [], unknown = [];
  const off = socket.jobs.watch("a", job => known.push(job.seq));
  socket.jobs.watch("b", job => unknown.push(job.seq));

  peer.job(jobOf("a", 2));
  peer.job(jobOf("b", 3));
  await caughtUp(socket, peer);
  off();
  peer.job(jobOf("a", 4));
  await caughtUp(socket, peer);

  assert.deepEqual([known, unknown], [[1, 2], [3]]);
});

test("cancel asks, and resolves with the job that is the answer", async t => {
  const { socket, peer } = await (await serve(t)).ready({}, { jobs: [jobOf("a", 1)] });

  const cancelled = socket.jobs.cancel("a");
  const [name, { job, request }] = await peer.control();
  peer.job(jobOf("a", 2, { percent: 7 })); // progress, not yet the answer
  peer.job(jobOf("b", 3, { cancelling: true }));
  peer.job(jobOf("a", 4, { cancelling: true }));

  assert.deepEqual([name, job, typeof request], ["cancel", "a", "string"]);
  assert.deepEqual(await cancelled, jobOf("a", 4, { cancelling: true }));
});

test("cancel resolves also with a job that had ended already", async t => {
  const ended = jobOf("a", 1, { state: "succeeded" });
  const { socket, peer } = await (await serve(t)).ready({}, { jobs: [ended] });

  const cancelled = socket.jobs.cancel("a");
  await peer.control();
  peer.job(ended);

  assert.deepEqual(await cancelled, ended);
});

test("cancel resolves with whatever answers its request", async t => {
  const { socket, peer } = await (await serve(t)).ready({}, { jobs: [jobOf("a", 1)] });

  const cancelled = socket.jobs.cancel("a");
  const [, { request }] = await peer.control();
  peer.tell("job", { job: jobOf("a", 1), request });

  assert.deepEqual(await cancelled, jobOf("a", 1));
});

test("cancel rejects with the server's error, which is no error event", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const errors = record(socket, "error");

  const cancelled = socket.jobs.cancel("a");
  const [, { request }] = await peer.control();
  peer.tell("error", { error: "No such job", request });

  await assert.rejects(cancelled, /^Error: No such job$/);
  assert.deepEqual(errors, []);
});

test("cancel rejects when there is no answer", async t => {
  const { socket } = await (await serve(t)).ready({ timing: { answer: 10 } });

  await assert.rejects(socket.jobs.cancel("a"), /no answer/);
});

test("cancel waits for a connection, and asks again on the next one", async t => {
  const server = await serve(t);
  const socket = server.connect();
  const cancelled = socket.jobs.cancel("a");

  const peer = await server.peer();
  await peer.welcome();
  await peer.control();
  peer.cut();
  const again = await server.peer();
  await again.welcome();
  assert.equal((await again.control())[1].job, "a");
  again.job(jobOf("a", 1, { state: "cancelled" }));

  assert.equal((await cancelled).state, "cancelled");
});

test("a job that has ended while the client was away answers its cancel", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready({}, { jobs: [jobOf("a", 1)] });
  const cancelled = socket.jobs.cancel("a");

  await peer.control();
  peer.cut();
  await (await server.peer()).welcome({ jobs: [jobOf("a", 2, { state: "cancelled" })] });

  assert.equal((await cancelled).seq, 2);
});

test("close() rejects what waits, and a closed socket cancels nothing", async t => {
  const { socket } = await (await serve(t)).ready();
  const waiting = socket.jobs.cancel("a");

  socket.close();

  await assert.rejects(waiting, /closed/);
  await assert.rejects(socket.jobs.cancel("a"), /closed/);
});

test("a handler of ready that closes the socket hears of no jobs", async t => {
  const server = await serve(t);
  const socket = server.connect();
  const seen = record(socket, "job");
  socket.on("state", state => state === "ready" && socket.close());
  const closed = next(socket, "state", state => state === "closed");

  await (await server.peer()).welcome({ jobs: [jobOf("a", 1)] });
  await closed;

  assert.deepEqual(seen, []);
});

test("hasEnded", () => {
  const states = ["queued", "waiting", "started", "retrying", "requeued", "succeeded", "failed", "timeout", "cancelled", "lost"];

  assert.deepEqual(states.filter(state => hasEnded({ state })), states.slice(5));
  assert.equal(hasEnded(undefined), false);
});

test("after a gap it asks for the jobs again, since one may have ended unheard", async t => {
  const { socket, peer } = await (await serve(t)).ready({}, { jobs: [jobOf("a", 1), jobOf("b", 1)] });
  const told = [];
  socket.on("job", job => told.push([job.id, job.state]));
  peer.tell("gap", { epoch: "epoch-2", offset: 3 });

  assert.deepEqual(await peer.control(), ["jobs", {}]);
  peer.tell("jobs", { jobs: [jobOf("a", 2, { state: "succeeded" })] });
  await caughtUp(socket, peer);

  assert.deepEqual(told, [["a", "succeeded"]]);
  assert.deepEqual(socket.jobs.list().map(job => job.id), ["a"]);
});
