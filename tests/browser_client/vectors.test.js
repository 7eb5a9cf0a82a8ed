/** The frames of tests/wire/vectors.json: what the server's mean to a page, and that the client's are among what it may say. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { caughtUp, EPOCH, next, serve } from "./support/server.js";

const vectors = JSON.parse(await readFile(new URL("../wire/vectors.json", import.meta.url), "utf8"));
const TOPICS = ["room:7", "50%", "a=b"];
const PLACE = { epoch: EPOCH, offset: -1, recovered: true };

/** A client that has joined all topics of the vectors, and waits for the answer to its request 12. */
async function ready(server) {
  const socket = server.connect();
  const rooms = TOPICS.map(name => socket.topic(name));
  const peer = await server.peer();
  await peer.hello();
  peer.ready({ offset: -1, topics: Object.fromEntries(["*", ...TOPICS].map(name => [name, PLACE])) });
  await Promise.all(rooms.map(room => room.state === "joined" || next(room, "state")));
  const answers = [];
  for (let id = 1; id <= 12; id++) socket.request(id).then(data => answers.push({ reply: String(id), ...plain(data) }), ({ message }) => answers.push([String(id), message]));
  for (let id = 1; id <= 12; id++) await peer.frame();
  return { socket, rooms, peer, answers };
}

const plain = data => (data instanceof ArrayBuffer ? { binary: Buffer.from(data).toString("hex") } : { data });

test("each frame of the server's means to a page what the vectors say, and junk means nothing", async t => {
  const server = await serve(t);
  for (const { frame, bytes, means } of vectors.from_server) {
    if (means?.name) continue;
    const { socket, rooms, peer, answers } = await ready(server);
    const seen = [];
    const hear = (data, { offset, topic }) => seen.push({ ...(offset !== undefined && { offset }), ...(topic && { topic }), ...plain(data) });
    for (const one of [socket, ...rooms]) one.on("message", hear);

    peer.send(frame ?? Buffer.from(bytes, "hex"));
    await caughtUp(socket, peer);
    seen.push(...answers);

    const { latest, ...meant } = means ?? {}; // how the server drops what is out of date is its own affair
    assert.deepEqual(seen, means ? [meant] : [], JSON.stringify(frame ?? bytes));
    socket.close();
  }
});

/** What a page hears of each `!name` of the vectors. */
const HEARD = {
  gap: ({ topic }) => [[topic ?? "mine", "gap"]],
  error: ({ error, request }) => [[request, error]],
  members: ({ topic, joined }) => [[topic, joined]],
  pong: () => [],
  tomorrow: () => [],
};

test("each !name of the server's reaches whom it is about, and an unknown one nobody", async t => {
  const server = await serve(t);
  for (const { frame, means } of vectors.from_server) {
    if (!frame?.startsWith("!")) continue;
    const { socket, rooms, peer, answers } = await ready(server);
    const heard = [];
    for (const [name, one] of [["mine", socket], ...rooms.map(room => [room.name, room])]) {
      one.on("gap", () => heard.push([name, "gap"]));
      one.on("members", ids => heard.push([name, ids]));
      one.on("message", () => heard.push([name, "message"]));
    }
    socket.on("error", ({ error }) => error.startsWith("marker") || heard.push(["nobody", error]));

    peer.send(frame);
    await caughtUp(socket, peer);

    assert.deepEqual([...heard, ...answers], means ? HEARD[means.name](means.fields) : [], frame);
    assert.equal(socket.state, "ready");
    socket.close();
  }
});

/** What a frame of a client means, as the vectors say it. */
function meaning(frame) {
  const isText = typeof frame === "string";
  const [header, ...lines] = (isText ? frame : frame.toString("latin1")).split("\n");
  const body = lines.join("\n");
  if (header.startsWith("!")) {
    const fields = JSON.parse(body || "{}");
    return { name: header.slice(1), ...(fields.request && { request: fields.request }), fields };
  }
  const [id, ...words] = header.split(" ");
  return {
    ...(id !== "-" && { request: id }),
    ...(words.includes("want=reply") && { wants_reply: true }),
    ...(isText ? { payload: body } : { binary: Buffer.from(body, "latin1").toString("hex") }),
  };
}

/** The same without its id, which is the client's own. */
function withoutId({ request, fields, ...means }) {
  return JSON.stringify({ ...means, fields: fields && { ...fields, request: undefined }, hasId: Boolean(request) });
}

test("what the client writes means what the vectors say", async t => {
  const { socket, peer } = await (await serve(t)).ready();
  const known = new Set();
  for (const { frame, bytes, means } of vectors.from_client.filter(vector => vector.means)) {
    assert.deepEqual(meaning(frame ?? Buffer.from(bytes, "hex")), means);
    known.add(withoutId(means));
  }

  socket.send({ a: 1 });
  socket.request({ a: 1 }).catch(() => {});
  socket.send(new Uint8Array([0, 255]));
  const written = [await peer.frame(), await peer.frame(), await peer.frame()];
  socket.topic("room:7");
  written.push(await peer.frame());

  assert.deepEqual(written.filter(frame => !known.has(withoutId(meaning(frame)))), []);
});
