/**
 * What the client does at each close code. tests/wire/close_codes.json says it by ranges: "returns" after a random wait
 * that grows, "renews" at once, once, with a fresh `auth`, "returns_slowly" after half a minute and more, "stays_away".
 */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { connect } from "qrsocket";
import { next, serve } from "./support/server.js";

const ranges = JSON.parse(await readFile(new URL("../wire/close_codes.json", import.meta.url), "utf8"));

/** Let a connection be closed with *code*; returns the state then, and how long the next try waits. */
async function closedWith(t, code) {
  let webSocket;
  class Scripted {
    constructor() {
      webSocket = this;
    }
    close() {}
  }
  const socket = connect("ws://localhost/", { WebSocket: Scripted, storage: null });
  while (!webSocket) await new Promise(setImmediate);
  const timers = t.mock.method(globalThis, "setTimeout");
  webSocket.onclose({ code, reason: "" });
  const { state } = socket;
  socket.close();
  return { state, wait: timers.mock.calls.at(-1)?.arguments[1] };
}

/** What a wait says of what the client does; random numbers are *random*. */
async function behaviour(t, code) {
  const waits = [];
  for (const random of [0, 0.999]) {
    t.mock.method(Math, "random", () => random);
    const { state, wait } = await closedWith(t, code);
    t.mock.restoreAll();
    if (state === "closed") return "stays_away";
    assert.equal(state, "offline");
    waits.push(wait);
  }
  if (waits[0] >= 30_000 && waits[1] > waits[0]) return "returns_slowly";
  if (waits[0] === 0 && waits[1] === 0) return "renews";
  return waits[0] === 0 && waits[1] <= 500 ? "returns" : waits;
}

test("the ranges are all codes from 1000 to 4999, each once", () => {
  let last = 999;
  for (const { from, to } of ranges) {
    assert.equal(from, last + 1);
    assert.ok(to >= from);
    last = to;
  }
  assert.equal(last, 4999);
});

for (const { from, to, client } of ranges) {
  test(`${from} to ${to}: the client ${client}`, async t => {
    for (const code of new Set([from, Math.floor((from + to) / 2), to])) assert.equal(await behaviour(t, code), client, code);
  });
}

for (const code of [4103, 4104]) {
  test(`${code}: connect() does not wait for the half minute, and a fast try is not what follows`, async t => {
    const server = await serve(t);
    const { socket, peer } = await server.ready({ timing: { slow: 1e6 } });
    const offline = next(socket, "state", state => state === "offline");

    await peer.close(code, "too many");
    assert.deepEqual(await offline, ["offline", { code, reason: "too many" }]);
    socket.connect();
    const again = await server.peer();
    const lost = next(socket, "state", state => state === "offline");
    await again.close(code);
    await lost;
    await new Promise(resolve => setTimeout(resolve, 15));

    assert.equal(server.count, 2);
  });
}
