/** What a job writes with `job.stream()`: each piece once, in order, over reconnects, until its end. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { caughtUp, inTime, jobOf, serve } from "./support/server.js";

const ended = (seq, chunks) => jobOf("a", seq, { state: "succeeded", chunks });

/** Read all of job "a"; returns what was read so far, and the end. */
function reading(socket, options) {
  const texts = [];
  const end = (async () => {
    for await (const text of socket.jobs.read("a", options)) texts.push(text);
  })();
  const inTimeEnd = inTime(end, "still reading");
  inTimeEnd.catch(() => {}); // awaited later
  return { texts, end: inTimeEnd };
}

async function asked(peer) {
  const [name, { job, after }] = await peer.control();
  assert.deepEqual([name, job], ["read", "a"]);
  return after;
}

test("kept and live pieces, from the beginning to the end of the job", async t => {
  const { socket, peer } = await (await serve(t)).ready({}, { jobs: [jobOf("a", 1)] });
  const { texts, end } = reading(socket);

  assert.equal(await asked(peer), 0);
  for (const n of [1, 2, 3]) peer.chunk("a", n, `t${n}`);
  peer.chunk("b", 4, "another job's");
  peer.job(ended(2, 3));
  await end;

  assert.deepEqual(texts, ["t1", "t2", "t3"]);
});

test("half-way: only what comes after", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const { texts, end } = reading(socket, { after: 2 });

  assert.equal(await asked(peer), 2);
  for (const n of [1, 2, 3]) peer.chunk("a", n, `t${n}`);
  peer.job(ended(2, 3));
  await end;

  assert.deepEqual(texts, ["t3"]);
});

test("pieces that come twice, or before the answer with those before them, are read once and in order", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const { texts, end } = reading(socket);

  await asked(peer);
  for (const n of [4, 1, 2, 2, 1, 3, 4, 5]) peer.chunk("a", n, n);
  peer.job(ended(2, 5));
  await end;

  assert.deepEqual(texts, [1, 2, 3, 4, 5]);
});

test("over a reconnect it goes on after what was read", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  const { texts, end } = reading(socket);
  await asked(peer);
  for (const n of [1, 2]) peer.chunk("a", n, n);
  await caughtUp(socket, peer);

  peer.cut();
  const again = await server.peer();
  await again.welcome();
  assert.equal(await asked(again), 2);
  for (const n of [3, 4]) again.chunk("a", n, n);
  again.job(ended(2, 4));
  await end;

  assert.deepEqual(texts, [1, 2, 3, 4]);
});

test("a reader that takes its time loses nothing of what came meanwhile", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  const reader = socket.jobs.read("a");
  const first = reader.next();
  await asked(peer);
  for (const n of [1, 2, 3]) peer.chunk("a", n, n);
  const texts = [(await first).value];

  peer.cut();
  const again = await server.peer();
  await again.welcome({ jobs: [ended(2, 9)] });
  assert.equal(await asked(again), 1);
  again.chunk("a", 8, 8, { gap: true }); // meanwhile the server has let go of all before
  again.chunk("a", 9, 9);
  for await (const text of reader) texts.push(text);

  assert.deepEqual(texts, [1, 2, 3, "…", 8, 9]);
});

test("a beginning that is not kept any more is one \"…\", or what is wished for", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const dots = reading(socket), nulls = reading(socket, { trimmed: null });
  await asked(peer);
  await asked(peer);

  peer.chunk("a", 7, "t7", { gap: true });
  peer.job(ended(2, 7));
  await Promise.all([dots.end, nulls.end]);

  assert.deepEqual([dots.texts, nulls.texts], [["…", "t7"], [null, "t7"]]);
});

test("a piece that was lost on the way is asked for again", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const { texts, end } = reading(socket);
  await asked(peer);

  for (const n of [1, 2, 4, 5]) peer.chunk("a", n, n);
  assert.equal(await asked(peer), 2);
  for (const n of [3, 4, 5]) peer.chunk("a", n, n);
  peer.job(ended(2, 5));
  await end;

  assert.deepEqual(texts, [1, 2, 3, 4, 5]);
});

test("a piece that was read already is no reason to ask", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  reading(socket);
  await asked(peer);

  peer.chunk("a", 1, 1);
  await caughtUp(socket, peer);
  peer.chunk("a", 1, 1);
  await caughtUp(socket, peer);
  socket.send("next");

  assert.match(await peer.frame(), /next/);
});

test("after a !gap it asks again", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  reading(socket);
  await asked(peer);
  peer.chunk("a", 1, 1);
  await caughtUp(socket, peer);

  peer.tell("gap", { epoch: "e", offset: 1 });
  assert.deepEqual(await peer.control(), ["jobs", {}]);

  assert.equal(await asked(peer), 1);
});

test("the end of the job does not cut off pieces that are still on their way", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const { texts, end } = reading(socket);
  await asked(peer);

  peer.chunk("a", 1, 1);
  peer.job(ended(2, 3));
  peer.chunk("a", 2, 2);
  peer.chunk("a", 3, 3);
  await end;

  assert.deepEqual(texts, [1, 2, 3]);
});

test("pieces of an ended job that never come are not waited for without end", async t => {
  const { socket, peer } = await (await serve(t)).ready({ timing: { answer: 10 } });
  const { texts, end } = reading(socket);
  await asked(peer);

  peer.chunk("a", 1, 1);
  peer.chunk("a", 4, 4);
  peer.job(ended(2, 5));
  await end;

  assert.deepEqual(texts, [1, "…", 4, "…"]);
});

test("a job that has ended and wrote nothing is read at once", async t => {
  const { socket } = await (await serve(t)).ready({}, { jobs: [jobOf("a", 1, { state: "failed" })] });

  const { texts, end } = reading(socket);
  await end;

  assert.deepEqual(texts, []);
});

test("two readers of one job read it independently", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const all = reading(socket), rest = reading(socket, { after: 1 });
  await asked(peer);
  await asked(peer);

  for (const n of [1, 2, 2]) peer.chunk("a", n, n);
  peer.job(ended(2, 2));
  await Promise.all([all.end, rest.end]);

  assert.deepEqual([all.texts, rest.texts], [[1, 2], [2]]);
});

test("the server's error ends it, and is no error event", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const { end } = reading(socket);

  const [, { request }] = await peer.control();
  peer.tell("error", { error: "No such job", request });

  await assert.rejects(end, /No such job/);
});

test("it waits for a connection", async t => {
  const server = await serve(t);
  const socket = server.connect();
  const { texts, end } = reading(socket);

  const peer = await server.peer();
  await peer.welcome({ jobs: [ended(2, 1)] });
  await asked(peer);
  peer.chunk("a", 1, 1);
  await end;

  assert.deepEqual(texts, [1]);
});

test("break ends it: nothing is asked for on the next connection", async t => {
  const server = await serve(t);
  const { socket, peer } = await server.ready();
  const done = (async () => {
    for await (const _ of socket.jobs.read("a")) break;
  })();
  await asked(peer);
  peer.chunk("a", 1, 1);
  await done;

  peer.cut();
  const again = await server.peer();
  await again.welcome();
  await caughtUp(socket, again);
  socket.send("next");

  assert.match(await again.frame(), /next/);
});

test("a signal ends it, also while nothing comes", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const controller = new AbortController();
  const { end } = reading(socket, { signal: controller.signal });
  await asked(peer);

  controller.abort();

  await assert.rejects(end, { name: "AbortError" });
  await assert.rejects(reading(socket, { signal: controller.signal }).end, { name: "AbortError" });
});

for (const [name, ends] of Object.entries({
  "close()": async (server, { socket }) => socket.close(),
  "a 41xx": async (server, { peer }) => peer.close(4101),
  "another user": async (server, { peer }) => {
    peer.cut();
    await (await server.peer()).welcome({ user: "bob" });
  },
})) {
  test(`${name} ends it with an error`, async t => {
    const server = await serve(t);
    const client = await server.ready();
    const { end } = reading(client.socket);
    await asked(client.peer);

    await ends(server, client);

    await assert.rejects(end, /closed|user/);
  });
}

test("a job that has begun again says so before its first piece, also when what it wrote before is gone", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const read = [];
  const { texts, end } = reading(socket, { anew: () => read.push(texts.length) });

  await asked(peer);
  peer.chunk("a", 1, "old");
  peer.chunk("a", 2, "new", { anew: true });
  peer.chunk("a", 5, "newest", { gap: true, anew: true });
  peer.job(ended(2, 5));
  await end;

  assert.deepEqual([texts, read], [["old", "new", "newest"], [1, 2]]);
});

test("what cannot be read now is asked for again", async t => {
  const { socket, peer } = await (await serve(t)).ready({ timing: { burst: 1 } }, { jobs: [jobOf("a", 1)] });
  const { texts, end } = reading(socket);
  const [, { request }] = await peer.control();
  peer.tell("error", { error: "Try again later", request, temporary: true });

  assert.equal(await asked(peer), 0);
  peer.chunk("a", 1, "t1");
  peer.job(ended(2, 1));
  await end;

  assert.deepEqual(texts, ["t1"]);
});
