/** What is shipped: its size, its types, and what it needs. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { minified } from "./minify.js";
import { next, serve } from "./support/server.js";

const here = new URL(".", import.meta.url);
const browser = new URL("../../qrsocket/browser/", import.meta.url);
const read = name => readFile(new URL(name, browser), "utf8");
const run = promisify(execFile);

for (const [name, limit] of [["client.js", 5000], ["react.js", 2000]]) {
  test(`${name} is under ${limit} bytes, minified and gzipped`, async () => {
    const size = gzipSync(await minified(name), { level: 9 }).length;

    assert.ok(size < limit, `${size} bytes`);
  });
}

test("what minifying makes of client.js is a client", async t => {
  const folder = await mkdtemp(new URL("node_modules/.minified-", here).pathname);
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(`${folder}/client.mjs`, await minified("client.js"));
  const { connect, ...others } = await import(`${folder}/client.mjs`);
  const { socket, peer } = await (await serve(t, connect)).ready();
  const room = socket.topic("room:7");
  const [, { request }] = await peer.control();
  peer.tell("joined", { topic: "room:7", request, epoch: "e", offset: 1 });
  const message = next(room, "message");
  peer.message("2 t=room:7", "hello");
  const answer = socket.request({ q: 1 });
  const [id] = (await peer.frame()).split(" ");
  peer.message(`- r=${id}`, "A");

  assert.deepEqual(Object.keys(others), ["hasEnded"]);
  assert.deepEqual([await message, await answer], [["hello", { offset: 2, topic: "room:7" }], "A"]);
});

test("client.js imports nothing, and evaluates no text as code", async () => {
  assert.doesNotMatch(await read("client.js"), /\bimport\b|\beval\b|new Function|innerHTML/);
});

test("client.js may be imported where there is no page and no WebSocket", async () => {
  const check = `
    delete globalThis.WebSocket;
    const { connect } = await import("qrsocket");
    try { connect("http://localhost/") } catch (error) { console.log(error.message) }`;
  const { stdout } = await run(process.execPath, ["--preserve-symlinks", "--input-type=module", "-e", check], {
    cwd: here,
  });

  assert.match(stdout, /no WebSocket/);
});

test("every file that package.json promises is there, and nothing else is shipped", async () => {
  const { exports, files, main, types } = JSON.parse(await read("package.json"));
  const promised = Object.values(exports).flatMap(Object.values).map(path => path.replace("./", ""));

  assert.deepEqual(promised.toSorted(), files.toSorted());
  assert.deepEqual({ types, default: main }, exports["."]);
  for (const name of files) await read(name);
});

test("react.js is for the client, where a server renders components", async () => {
  assert.match(await read("react.js"), /^"use client";\n/);
});

test("require() finds both, since Node 20.19", async () => {
  const check = 'console.log(...Object.keys(require("qrsocket")), ...Object.keys(require("qrsocket/react")))';
  const { stdout } = await run(process.execPath, ["--preserve-symlinks", "--input-type=commonjs", "-e", check], { cwd: here });

  assert.equal(stdout, "connect hasEnded useJob useJobs useMembers useMessages useSocket useStream useTopic\n");
});

const RESOLUTIONS = {
  "of bundlers": ["typescript"],
  "of Node, with require": ["typescript", "--module", "nodenext"],
  "of TypeScript before 4.7": ["typescript-5", "--module", "commonjs", "--moduleResolution", "node10"],
};

for (const [name, [compiler, ...flags]] of Object.entries(RESOLUTIONS)) {
  test(`the types fit, in the resolution ${name}: what is right passes, and each @ts-expect-error is one`, async () => {
    const tsc = new URL(`node_modules/${compiler}/bin/tsc`, here).pathname;

    const words = [tsc, "--noEmit", "-p", "types", ...flags];
    await run(process.execPath, words, { cwd: here }).catch(({ stdout }) => assert.fail(stdout));
  });
}
