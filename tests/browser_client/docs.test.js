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
    const [, name, body] = /^!?(\w+)[^\n]*\n(.*)$/s.exec(frame.toString());
    if (name === "join") {
      const { topic, request } = JSON.parse(body);
      peer.tell("joined", { topic, request, epoch: "e", offset: 1, members: ["bob", "ada"] });
      peer.message("2 t=room:7", "in the room");
      peer.tell("joined", { topic: "room:8", epoch: "e", offset: 1 });
      peer.message("2 t=room:8", "in another room");
    } else if (body.includes("hamlet")) peer.message(`- r=${name}`, { hits: ["to be"] });
    else if (name === "cancel") peer.job(jobOf("a", 2, { percent: 20, cancelling: true }));
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

/** Make URLs of HTTP requests relative to a page beside *url*, as a browser does; returns what is asked. */
function inThePage(t, url) {
  const asked = [];
  t.mock.method(globalThis, "fetch", async request => asked.push([request.method, request.headers.get("X-Socket-Connection")]));
  const { Request } = globalThis;
  t.after(() => (globalThis.Request = Request));
  globalThis.Request = class extends Request {
    constructor(path, init) {
      super(new URL(path, url), init);
    }
  };
  return asked;
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
  const names = "connect, token, show, bar, output, reloadWhatThePageShows, id, WebSocket, ready, list, heard";
  const script = [first.replace(imports, ""), "await ready(socket);", ...more].join("\n");
  const run = new AsyncFunction(...names.split(", "), script.replace("room.leave();", "await heard();\nroom.leave();"));
  const asked = inThePage(t, server.url);
  const list = {};
  const heard = async () => {
    while (!shown.includes("in another room")) await new Promise(setImmediate);
  };
  const talking = (async () => answer(await server.peer()))();
  t.after(() => sockets[0].close());
  const ready = socket => new Promise(resolve => socket.on("state", state => state === "ready" && setImmediate(resolve)));
  await inTime(
    run(connect, "token", text => shown.push(text), bar, { append: text => output.push(text) }, () => {}, "a", PlainWebSocket, ready, list, heard),
    "it does not end",
  );
  sockets[0].jobs.cancel("done").catch(() => {});
  talking.catch(() => {});

  assert.deepEqual(output, ["to be ", "or not"]);
  assert.equal(bar.value, 20);
  assert.equal(list.textContent, "ada, bob");
  assert.deepEqual(asked, [["POST", "c1"]]);
  assert.deepEqual(shown.sort(), [
    "1 found", "characters.csv", "in another room", "in the room", "plain", "room:7 is joined", "room:7 is left",
    "that is the question", "the rest is silence",
  ]);
  assert.deepEqual(urls, ["/socket"]);
  assert.equal(blocks("js").length, 10);
});

test("its React components render", async t => {
  const folder = await mkdtemp(new URL("node_modules/.docs-", import.meta.url).pathname);
  t.after(() => rm(folder, { recursive: true }));
  const codes = blocks("jsx");
  await writeFile(`${folder}/page.jsx`, codes.join("\n"));
  await writeFile(`${folder}/package.json`, '{"type": "module"}');
  const tsc = new URL("node_modules/typescript/bin/tsc", import.meta.url).pathname;
  const flags = ["--allowJs", "--ignoreConfig", "--skipLibCheck", "--target", "es2022", "--module", "preserve", "--jsx", "react-jsx"];
  await promisify(execFile)(process.execPath, [tsc, `${folder}/page.jsx`, "--noCheck", "--outDir", folder, ...flags], { cwd: folder }).catch(({ stdout }) => assert.fail(stdout));

  const { createElement } = await import("react");
  const { renderToString } = await import("react-dom/server");
  const { Import, Room } = await import(`${folder}/page.js`);

  assert.equal(renderToString(createElement(Import, { id: "a", token: "t" })), '<progress max="100" value="0" title="connecting"></progress>');
  assert.equal(renderToString(createElement(Room, { name: "room:7", job: "a" })), '<section title=""><pre class="busy"></pre></section>');
  assert.equal(codes.length, 2);
});
