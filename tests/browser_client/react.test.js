/** The hooks, in a document. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { StrictMode, useEffect, useLayoutEffect } from "react";
import { flushSync } from "react-dom";
import { act, Connection, h, hydrateRoot, mount, options, Progress, renderToString, shows, useSocket } from "./support/document.js";
import { inTime, jobOf, memory, MS, serve } from "./support/server.js";

test("the socket is opened when a component is mounted, and its state is rendered", async t => {
  const server = await serve(t);
  const { shows } = await mount(t, h(Connection, { url: server.url }));
  await shows("connecting socket undefined");

  const peer = await server.peer();
  await peer.welcome();
  await shows("ready socket alice");
  peer.cut();
  await (await server.peer()).welcome({ user: "bob" });

  await shows("ready socket bob");
});

test("components with the same URL share a socket; it closes with the last of them", async t => {
  const server = await serve(t);
  const both = h("div", null, h(Connection, { key: 1, url: server.url }), h(Progress, { key: 2, url: server.url, id: "a" }));
  const { render, shows } = await mount(t, both);
  const peer = await server.peer();
  await peer.welcome({ jobs: [jobOf("a", 1, { percent: 5 })] });
  await shows("ready socket alicea 5");

  await render(h("div", null, h(Progress, { key: 2, url: server.url, id: "a" })));
  await shows("a 5");
  await act(() => new Promise(resolve => setTimeout(resolve, 10)));
  assert.equal(server.open, 1);
  await render(null);

  assert.equal(await inTime(peer.closed, "still open"), 1000);
  assert.equal(server.count, 1);
});

test("strict mode, which mounts twice, opens one connection", async t => {
  const server = await serve(t);
  const { shows } = await mount(t, h(StrictMode, null, h(Connection, { url: server.url })));

  await (await server.peer()).welcome();
  await shows("ready socket alice");

  assert.equal(server.count, 1);
});

test("a change of page does not close the socket in between", async t => {
  const server = await serve(t);
  const { render, shows } = await mount(t, h(Connection, { key: "one", url: server.url }));
  await (await server.peer()).welcome();
  await shows("ready socket alice");

  await render(h(Connection, { key: "two", url: server.url }));
  await shows("ready socket alice");

  assert.equal(server.count, 1);
});

test("mounted again after it was closed, it opens again", async t => {
  const server = await serve(t);
  const { render, shows } = await mount(t, h(Connection, { url: server.url }));
  const peer = await server.peer();
  await render(null);
  await peer.closed;

  await render(h(Connection, { url: server.url }));
  await (await server.peer()).welcome();

  await shows("ready socket alice");
});

test("useJob renders only the changes of its job", async t => {
  const server = await serve(t);
  const renders = [];
  const { shows } = await mount(t, h("div", null,
    h(Connection, { url: server.url }), h(Progress, { url: server.url, id: "a", renders }), h(Progress, { url: server.url, id: "b" }),
  ));
  const peer = await server.peer();
  await peer.welcome();
  await shows("ready socket alicenullnull");
  const before = renders.length;

  peer.job(jobOf("b", 1, { percent: 1 }));
  await shows("ready socket alicenullb 1");
  assert.equal(renders.length, before);
  peer.job(jobOf("a", 2, { percent: 2 }));

  await shows("ready socket alicea 2b 1");
});

test("a job that is gone with its user is none", async t => {
  const server = await serve(t);
  const { shows } = await mount(t, h("div", null, h(Connection, { url: server.url }), h(Progress, { url: server.url, id: "a" })));
  const peer = await server.peer();
  await peer.welcome({ jobs: [jobOf("a", 1, { percent: 2 })] });
  await shows("ready socket alicea 2");

  peer.cut();
  await (await server.peer()).welcome({ user: "bob" });

  await shows("ready socket bobnull");
});

test("options count whoever is mounted first, a child without any too", async t => {
  const server = await serve(t);
  function Parent() {
    useSocket({ url: server.url, ...options, auth: () => "parent's" });
    return h(Progress, { url: server.url, id: "a" });
  }

  await mount(t, h(Parent));

  assert.equal((await (await server.peer()).hello()).auth, "parent's");
});

test("auth is the one that was rendered last", async t => {
  const server = await serve(t);
  const { render } = await mount(t, h(Connection, { url: server.url, more: { auth: () => "old" } }));
  const peer = await server.peer();
  await peer.welcome();

  await render(h(Connection, { url: server.url, more: { auth: () => "new" } }));
  peer.cut();

  assert.equal((await (await server.peer()).hello()).auth, "new");
});

test("another URL is another socket, and the former is closed", async t => {
  const server = await serve(t);
  const { render } = await mount(t, h(Connection, { url: `${server.url}?user=alice` }));
  const peer = await server.peer();

  await render(h(Connection, { url: `${server.url}?user=bob` }));
  await peer.closed;

  assert.equal((await server.peer()).url, "/socket?user=bob");
});

test("rendering on a server opens no socket", async t => {
  const server = await serve(t);

  const html = renderToString(h("div", null, h(Connection, { url: server.url }), h(Progress, { url: server.url, id: "a" })));
  await new Promise(resolve => setTimeout(resolve, 10));

  assert.equal(html, "<div><p>connecting none undefined</p><b>undefined</b></div>");
  assert.equal(server.count, 0);
});

test("listening in an effect is early enough for the first message", async t => {
  const server = await serve(t);
  const seen = [];
  function Listener() {
    const { socket } = useSocket({ url: server.url, ...options });
    useEffect(() => socket?.on("message", data => seen.push(data)), [socket]);
    return null;
  }
  await mount(t, h(StrictMode, null, h(Listener)));

  const peer = await server.peer();
  await peer.welcome();
  peer.message(11, "first");
  peer.send("!ping-free marker"); // junk, so that nothing else is told
  await inTime((async () => {
    while (!seen.length) await new Promise(setImmediate);
  })(), "no message");

  assert.deepEqual(seen, ["first"]);
});

test("a page that was rendered on a server opens its socket when it is hydrated", async t => {
  const server = await serve(t);
  const page = h("div", null, h(Connection, { url: server.url }), h(Progress, { url: server.url, id: "a" }));
  const container = document.createElement("div");
  container.innerHTML = renderToString(page);
  const complaints = [];

  const root = await act(async () => hydrateRoot(container, page, { onRecoverableError: error => complaints.push(error) }));
  t.after(() => act(async () => root.unmount()));
  await (await server.peer()).welcome();

  await shows(container, "ready socket alicenull");
  assert.deepEqual(complaints, []);
});

test("options of several components count together: one without auth does not take it from the other", async t => {
  const server = await serve(t);
  const auth = () => "token";
  await mount(t, h("div", null, h(Connection, { url: server.url, more: { auth } }), h(Connection, { url: server.url })));

  assert.equal((await (await server.peer()).hello()).auth, "token");
});

test("unmounted while auth is asked for, it opens nothing", async t => {
  const server = await serve(t);
  let answer;
  const auth = () => new Promise(resolve => (answer = resolve));
  const { render } = await mount(t, h(Connection, { url: server.url, more: { auth } }));

  await render(null);
  await act(() => new Promise(resolve => setTimeout(resolve, 10)));
  answer("too late");
  await act(() => new Promise(resolve => setTimeout(resolve, 10)));

  assert.equal(server.count, 0);
});

test("options of a component that comes while the socket is closing are those of the next one", async t => {
  const server = await serve(t);
  const { root } = await mount(t, h(Connection, { url: server.url }));
  const { root: other } = await mount(t, null);
  const peer = await server.peer();
  const storage = memory();
  function Slow() {
    useLayoutEffect(() => {
      for (const end = performance.now() + 5 * MS; performance.now() < end;); // the end is due before it subscribes
    });
    return h(Connection, { url: server.url, more: { storage } });
  }
  globalThis.IS_REACT_ACT_ENVIRONMENT = false;
  t.after(() => (globalThis.IS_REACT_ACT_ENVIRONMENT = true));

  setImmediate(() => flushSync(() => root.render(null)));
  other.render(h(Slow));
  await peer.closed;
  await (await server.peer()).welcome();
  await inTime((async () => {
    while (!storage.writes) await new Promise(setImmediate);
  })(), "its storage is not used");
});
