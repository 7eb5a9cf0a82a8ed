/** The examples of docs/client.md run as they are printed. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { promisify } from "node:util";
import * as client from "qrsocket";
import { inTime, jobOf, serve, WebSocket } from "./support/server.js";

const page = await readFile(new URL("../../docs/client.md", import.meta.url), "utf8");
const blocks = language => [...page.matchAll(new RegExp("^```" + language + "\\n(.*?)^```", "gms"))].map(([, code]) => code);
const AsyncFunction = (async () => {}).constructor;

/** Answer a client as a server would that has one job, "a". */
async function answer(peer) {
  await peer.welcome({ jobs: [jobOf("a", 1, { percent: 10, title: "characters.csv" })] });
  for (;;) {
    const frame = await peer.frame();
    const [, name, body] = /^!?(\w+)\n(.*)$/s.exec(frame.toString());
    if (name === "cancel") peer.job(jobOf("a", 2, { percent: 20, cancelling: true }));
    else if (name === "read") {
      peer.chunk("a", 1, "to be ");
      peer.chunk("a", 2, "or not");
      peer.job(jobOf("a", 3, { state: "cancelled", percent: 20, chunks: 2 }));
    } else if (body.includes("to be")) {
      peer.message(11, "the rest is silence");
      peer.tell("error", { error: "that is the question", request: name });
    } else if (name === "done") return;
  }
}

test("its JavaScript runs from top to bottom, in one page", async t => {
  const server = await serve(t);
  const urls = [];
  const shown = [], output = [], bar = {}, sockets = [];
  const connect = (url, options) => {
    sockets.push(client.connect(new URL(url, server.url), { ...options, WebSocket, storage: null }));
    return sockets[0];
  };
  class PlainWebSocket {
    constructor(url) {
      urls.push(url);
    }
    set onmessage(handler) {
      handler({ data: '"plain"' });
    }
  }
  const imports = /^import \{ (\w+) \} from "\/socket\/client.js";\n/m;
  const [first, ...more] = blocks("js");
  assert.match(first, imports);
  const names = "connect, token, show, bar, output, reloadWhatThePageShows, id, WebSocket, ready";
  const run = new AsyncFunction(...names.split(", "), [first.replace(imports, ""), "await ready(socket);", ...more].join("\n"));

  const talking = (async () => answer(await server.peer()))();
  t.after(() => sockets[0].close());
  const ready = socket => new Promise(resolve => socket.on("state", state => state === "ready" && setImmediate(resolve)));
  await inTime(
    run(connect, "token", text => shown.push(text), bar, { append: text => output.push(text) }, () => {}, "a", PlainWebSocket, ready),
    "it does not end",
  );
  sockets[0].jobs.cancel("done").catch(() => {});
  talking.catch(() => {});

  assert.deepEqual(output, ["to be ", "or not"]);
  assert.equal(bar.value, 20);
  assert.deepEqual(shown.sort(), ["characters.csv", "plain", "that is the question", "the rest is silence"]);
  assert.deepEqual(urls, ["/socket"]);
  assert.equal(blocks("js").length, 5);
});

test("its React component renders a job", async t => {
  const folder = await mkdtemp(new URL("node_modules/.docs-", import.meta.url).pathname);
  t.after(() => rm(folder, { recursive: true }));
  const [code, ...others] = blocks("jsx");
  await writeFile(`${folder}/page.jsx`, code);
  await writeFile(`${folder}/package.json`, '{"type": "module"}');
  const tsc = new URL("node_modules/typescript/bin/tsc", import.meta.url).pathname;
  const flags = ["--allowJs", "--ignoreConfig", "--skipLibCheck", "--target", "es2022", "--module", "preserve", "--jsx", "react-jsx"];
  await promisify(execFile)(process.execPath, [tsc, `${folder}/page.jsx`, "--noCheck", "--outDir", folder, ...flags], { cwd: folder }).catch(({ stdout }) => assert.fail(stdout));

  const { createElement } = await import("react");
  const { renderToString } = await import("react-dom/server");
  const { Import } = await import(`${folder}/page.js`);

  assert.equal(renderToString(createElement(Import, { id: "a", token: "t" })), '<progress max="100" value="0" title="connecting"></progress>');
  assert.deepEqual(others, []);
});
