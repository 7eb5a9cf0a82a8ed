/** What is shipped: its size, its types, and what it needs. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";

const browser = new URL("../../qrsocket/browser/", import.meta.url);
const read = name => readFile(new URL(name, browser), "utf8");
const run = promisify(execFile);

test("client.js is under 5 000 bytes, gzipped", async () => {
  const size = gzipSync(await read("client.js"), { level: 9 }).length;

  assert.ok(size < 5000, `${size} bytes`);
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
    cwd: new URL(".", import.meta.url),
  });

  assert.match(stdout, /no WebSocket/);
});

test("every file that package.json promises is there, and nothing else is shipped", async () => {
  const { exports, files } = JSON.parse(await read("package.json"));
  const promised = Object.values(exports).flatMap(Object.values).map(path => path.replace("./", ""));

  assert.deepEqual(promised.toSorted(), files.toSorted());
  for (const name of files) await read(name);
});

test("the types fit: what is right passes, and each @ts-expect-error is one", async () => {
  const tsc = new URL("node_modules/.bin/tsc", import.meta.url).pathname;

  await run(tsc, ["--noEmit", "-p", "types"], { cwd: new URL(".", import.meta.url) }).catch(({ stdout }) => assert.fail(stdout));
});
