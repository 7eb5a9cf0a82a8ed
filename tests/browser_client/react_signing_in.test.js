/** The hooks where nobody is signed in yet, or not any more. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { act, Connection, h, mount, options, Progress, renderToString, useSocket } from "./support/document.js";
import { jobOf, MS, serve } from "./support/server.js";

/** Twice the time after which a refused socket is tried again here. */
const passing = () => act(() => new Promise(resolve => setTimeout(resolve, 100 * MS)));

test("with enabled: false nothing is opened, until it is true", async t => {
  const server = await serve(t);
  const page = enabled => h(Connection, { url: server.url, more: { enabled } });
  const { render, shows } = await mount(t, page(false));
  await shows("closed none undefined");
  await passing();
  assert.equal(server.count, 0);

  await render(page(true));
  await (await server.peer()).welcome();

  await shows("ready socket alice");
});

test("enabled: false closes what is open, and the next one is another user's", async t => {
  const server = await serve(t);
  const page = user => h(Connection, { url: server.url, more: { enabled: Boolean(user), auth: () => user } });
  const { render, shows } = await mount(t, page("alice"));
  const peer = await server.peer();
  assert.equal((await peer.welcome()).auth, "alice");
  await shows("ready socket alice");

  await render(page(null));
  await shows("closed none undefined");
  await peer.closed;
  await render(page("bob"));

  assert.equal((await (await server.peer()).welcome({ user: "bob" })).auth, "bob");
  await shows("ready socket bob");
});

test("who is not enabled has no say: neither are its options taken, nor is another's socket closed", async t => {
  const server = await serve(t);
  const header = h(Connection, { key: "header", url: server.url, more: { enabled: false, auth: () => "header's" } });
  const page = h(Connection, { key: "page", url: server.url, more: { auth: () => "page's" } });
  const { render, shows } = await mount(t, h("div", null, page, header));
  const peer = await server.peer();
  assert.equal((await peer.welcome()).auth, "page's");
  await shows("ready socket aliceclosed none undefined");

  await render(h("div", null, page));
  await passing();

  assert.equal(server.open, 1);
});

test("rendered on a server, who is not enabled is closed", () => {
  assert.equal(renderToString(h(Connection, { url: "/socket", more: { enabled: false } })), "<p>closed none undefined</p>");
});

for (const code of [4100, 4101]) {
  test(`closed with ${code}, it begins anew as soon as auth returns something else`, async t => {
    const server = await serve(t);
    const page = token => h(Connection, { url: server.url, more: { auth: () => ({ token }) } });
    const { render, shows } = await mount(t, page(null));
    await (await server.peer()).close(code);
    await shows("closed socket undefined");

    await render(page(null)); // another function, and nothing new
    await render(page("new"));

    assert.deepEqual((await (await server.peer()).welcome()).auth, { token: "new" });
    await shows("ready socket alice");
    assert.equal(server.count, 2);
  });
}

test("an auth where there was none is something else", async t => {
  const server = await serve(t);
  const { render, shows } = await mount(t, h(Connection, { url: server.url }));
  await (await server.peer()).close(4100);
  await shows("closed socket undefined");

  await render(h(Connection, { url: server.url, more: { auth: async () => "token" } }));

  assert.equal((await (await server.peer()).hello()).auth, "token");
});

test("an async auth is not asked while the socket is closed; enabled begins anew, also what others hold", async t => {
  const server = await serve(t);
  let asked = 0;
  const auth = async () => ++asked;
  const page = enabled => h("div", null, h(Connection, { url: server.url }), h(Connection, { url: server.url, more: { enabled, auth } }));
  const { render, shows } = await mount(t, page(true));
  await (await server.peer()).close(4100);
  await shows("closed socket undefinedclosed socket undefined");

  await render(page(true));
  await render(page(false));
  await passing();
  assert.equal(asked, 1);
  await render(page(true));
  const again = await server.peer();
  assert.equal((await again.hello()).auth, 2);

  await again.close(4100);
  await shows("closed socket undefinedclosed socket undefined");
  await render(page(true));
  await passing();

  assert.equal(server.count, 2);
});

test("an auth that throws has nothing new to say", async t => {
  const server = await serve(t);
  const page = token => h(Connection, { url: server.url, more: { auth: () => token.toString() } });
  const { render, shows } = await mount(t, page("old"));
  await (await server.peer()).close(4100);
  await shows("closed socket undefined");

  await render(page(undefined));
  await passing();
  await shows("closed socket undefined");
  await render(page("new"));

  assert.equal((await (await server.peer()).hello()).auth, "new");
});

test("an auth that never says the same twice is asked now and then, not in a circle", async t => {
  const server = await serve(t);
  let said = 0;
  const { shows } = await mount(t, h(Connection, { url: server.url, more: { auth: () => ++said } }));
  await (await server.peer()).close(4100);
  await shows("closed socket undefined");
  const began = performance.now();

  await (await server.peer()).close(4100);

  assert.ok(performance.now() - began > 20 * MS, "at once");
});

test("what the page has closed itself stays closed", async t => {
  const server = await serve(t);
  let ours;
  function Page({ token }) {
    ours = useSocket({ url: server.url, ...options, auth: () => token }).socket;
    return null;
  }
  const { render } = await mount(t, h(Page, { token: "old" }));
  await (await server.peer()).welcome();

  await act(async () => ours.close());
  await render(h(Page, { token: "new" }));
  await passing();

  assert.equal(ours.state, "closed");
  assert.equal(server.count, 1);
});

test("closed for good and then unmounted, it tries no more", async t => {
  const server = await serve(t);
  const page = enabled => h("div", null, h(Connection, { url: server.url }), h(Connection, { url: server.url, more: { enabled } }));
  const { render, shows } = await mount(t, page(false));
  await (await server.peer()).close(4100);
  await shows("closed socket undefinedclosed none undefined");

  await render(page(true));
  await render(null);
  await passing();

  assert.equal(server.count, 1);
});

test("a job is undefined until the jobs are known, then null if there is none", async t => {
  const server = await serve(t);
  const { shows } = await mount(t, h("div", null, h(Progress, { url: server.url, id: "a" }), h(Progress, { url: server.url, id: "b" })));
  const peer = await server.peer();
  await peer.hello();
  await shows("undefinedundefined");

  peer.tell("ready", { user: "alice", epoch: "e", offset: 1, jobs: [jobOf("a", 1, { percent: 1 })] });

  await shows("a 1null");
});

test("a job that appears later is there, and stays while the socket is away", async t => {
  const server = await serve(t);
  const { shows } = await mount(t, h(Progress, { url: server.url, id: "a" }));
  const peer = await server.peer();
  await peer.welcome();
  await shows("null");

  peer.job(jobOf("a", 2, { percent: 2 }));
  await shows("a 2");
  peer.cut();
  await (await server.peer()).hello();

  await shows("a 2");
});

for (const id of [undefined, null, ""]) {
  test(`useJob(${JSON.stringify(id)}) asks for nothing and opens nothing`, async t => {
    const server = await serve(t);
    const { render, shows } = await mount(t, h(Progress, { url: server.url, id }));
    await shows("undefined");
    await passing();
    assert.equal(server.count, 0);

    await render(h(Progress, { url: server.url, id: "a" }));
    await (await server.peer()).welcome({ jobs: [jobOf("a", 1, { percent: 1 })] });

    await shows("a 1");
  });
}
