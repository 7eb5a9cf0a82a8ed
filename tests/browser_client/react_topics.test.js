/** The hooks for topics, messages, jobs and streams. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { StrictMode } from "react";
import { act, h, hooks, mount, options, renderToString } from "./support/document.js";
import { EPOCH, jobOf, serve } from "./support/server.js";

const joined = more => ({ epoch: EPOCH, offset: 20, recovered: true, members: ["ada"], ...more });

function Room({ url, name, ...more }) {
  const { topic, state, members, error } = hooks.useTopic(name, { url, ...more });
  return h("i", null, `${topic?.name} ${state} ${members} ${error ?? "fine"};`);
}

function Messages({ filter, ...more }) {
  return h("i", null, hooks.useMessages(filter, more).map(({ data, offset, topic }) => `${data.text ?? data}/${offset}/${topic} `));
}

function Jobs({ url, enabled }) {
  const { jobs, isLoading, error } = hooks.useJobs({ url, enabled });
  return h("i", null, `${jobs.map(job => job.id)} ${isLoading} ${error}`);
}

function Stream({ url, id }) {
  const { text, isDone, error } = hooks.useStream(id, { url });
  return h("i", null, `${text} ${isDone} ${error}`);
}

/** Mount *element* beside a component that opens the socket, and give it its place. */
async function ready(t, elementOf, more) {
  const server = await serve(t);
  const page = element => h(StrictMode, null, h(Opened, { key: "opened", url: server.url }), element);
  const mounted = await mount(t, page(elementOf(server.url)));
  const peer = await server.peer();
  await peer.welcome(more);
  return { ...mounted, server, peer, url: server.url, render: element => mounted.render(page(element)) };
}

function Opened({ url }) {
  hooks.useSocket({ url, ...options });
  return null;
}

async function admit(peer, name, more) {
  const [control, { topic, request }] = await peer.control();
  assert.deepEqual([control, topic], ["join", name]);
  peer.tell("joined", { topic, request, ...joined(more) });
}

test("useTopic joins while it is mounted, and renders state and members", async t => {
  const { peer, shows, render } = await ready(t, url => h(Room, { url, name: "room:7" }));
  await shows("room:7 joining  fine;");

  await admit(peer, "room:7");
  await shows("room:7 joined ada fine;");
  peer.tell("members", { topic: "room:7", joined: ["bob"], left: [] });
  await shows("room:7 joined ada,bob fine;");
  await render(null);

  const [name, { topic }] = await peer.control();
  assert.deepEqual([name, topic], ["leave", "room:7"]);
});

test("components share a topic; it is left with the last of them", async t => {
  const pair = url => h("p", null, h(Room, { key: 1, url, name: "room:7" }), h(Room, { key: 2, url, name: "room:7" }));
  const { peer, shows, render, url } = await ready(t, pair);
  await admit(peer, "room:7");
  await shows("room:7 joined ada fine;room:7 joined ada fine;");

  await render(h("p", null, h(Room, { key: 2, url, name: "room:7" })));
  await render(h("p", null, h(Room, { key: 3, url, name: "room:7" })));
  await shows("room:7 joined ada fine;");
  await render(h("p", null, h(Room, { key: 3, url, name: "room:8" })));

  const controls = [(await peer.control())[0], (await peer.control())[0]];
  assert.deepEqual(controls.toSorted(), ["join", "leave"]);
});

test("useTopic without a name, or not enabled, joins nothing and opens nothing", async t => {
  const server = await serve(t);
  const both = h("p", null, h(Room, { key: 1, url: server.url, name: null }), h(Room, { key: 2, url: server.url, name: "room:7", enabled: false }));
  const { shows } = await mount(t, both);

  await shows("undefined left  fine;undefined left  fine;");
  await act(() => new Promise(resolve => setTimeout(resolve, 10)));
  assert.equal(server.count, 0);
});

test("a topic that is refused says why, and is asked for again by whoever comes next", async t => {
  const { peer, shows, render, url } = await ready(t, url => h(Room, { url, name: "room:7" }));
  const [, { request }] = await peer.control();
  peer.tell("error", { error: "members only", request });
  await shows("room:7 refused  members only;");

  await render(h(Room, { key: "another", url, name: "room:7" }));
  await admit(peer, "room:7");

  await shows("room:7 joined ada fine;");
});

test("useMembers is the list", async t => {
  function Members({ url }) {
    return h("i", null, hooks.useMembers("room:7", { url }).join(" and "));
  }
  const { peer, shows } = await ready(t, url => h(Members, { url }));

  await admit(peer, "room:7", { members: ["bob", "ada"] });

  await shows("ada and bob");
});

test("useMessages has the last messages, newest last, with those that came before it was mounted", async t => {
  const { peer, shows, render, url } = await ready(t, () => null);
  peer.message(11, "early");
  peer.message("- t=*", "everyone's");
  await render(h(Messages, { url, limit: 3 }));
  await shows("early/11/undefined everyone's/undefined/* ");

  peer.message(12, "c");
  peer.message(13, "d");

  await shows("everyone's/undefined/* c/12/undefined d/13/undefined ");
});

for (const [name, filter] of Object.entries({ "a type or kind": "chat", "a function": ({ type, kind }) => (type ?? kind) === "chat" })) {
  test(`useMessages with ${name} has only those`, async t => {
    const { peer, shows } = await ready(t, url => h(Messages, { url, filter }));

    peer.message(11, { type: "chat", text: "a" });
    peer.message(12, { type: "other", text: "b" });
    peer.message(13, { kind: "chat", text: "c" });
    peer.message(14, "text");

    await shows("a/11/undefined c/13/undefined ");
  });
}

test("useMessages of a topic joins it, and begins empty with another one", async t => {
  const { peer, shows, render, url } = await ready(t, url => h(Messages, { url, topic: "room:7" }));
  await admit(peer, "room:7");
  peer.message("21 t=room:7", "a");
  peer.message("11", "mine");
  await shows("a/21/room:7 ");

  await render(h(Messages, { url, topic: "room:8" }));
  await shows("");
  const first = await peer.control();
  const [, { request }] = first[0] === "join" ? first : await peer.control();
  peer.tell("joined", { topic: "room:8", request, ...joined() });
  peer.message("21 t=room:8", "b");

  await shows("b/21/room:8 ");
});

test("useMessages whose topic is not known yet has none", async t => {
  const { peer, shows } = await ready(t, url => h("p", null, h(Messages, { key: 1, url, topic: null }), h(Messages, { key: 2, url })));

  peer.message("11", "mine");

  await shows("mine/11/undefined ");
});

test("useJobs has all jobs, newest first; loading until they are known", async t => {
  const server = await serve(t);
  const { shows } = await mount(t, h("p", null, h(Opened, { url: server.url }), h(Jobs, { url: server.url })));
  await shows(" true undefined");
  const peer = await server.peer();
  await peer.welcome({ jobs: [jobOf("b", 2), jobOf("a", 1)] });
  await shows("b,a false undefined");

  peer.job(jobOf("c", 3));
  await shows("c,b,a false undefined");
  peer.close(4101, "signed out");

  await shows("c,b,a false signed out");
});

test("useJobs that is not enabled is not loading", async t => {
  const server = await serve(t);
  const { shows } = await mount(t, h(Jobs, { url: server.url, enabled: false }));

  await shows(" false undefined");
});

test("useStream has the text so far, and says when it is all", async t => {
  const { peer, shows } = await ready(t, url => h(Stream, { url, id: "a" }), { jobs: [jobOf("a", 1)] });
  await shows(" false undefined");

  peer.chunk("a", 1, "to be ");
  peer.chunk("a", 2, "or not");
  await shows("to be or not false undefined");
  peer.chunk("a", 3, "anew", { anew: true });
  await shows("anew false undefined");
  peer.job(jobOf("a", 2, { state: "succeeded", chunks: 3 }));

  await shows("anew true undefined");
});

test("useStream of a job that is not the user's has an error; another id begins empty", async t => {
  const { peer, shows, render, url } = await ready(t, url => h(Stream, { url, id: "a" }));
  let request;
  for (let name; name !== "read" || !request; ) [name, { request }] = await peer.control();
  peer.tell("error", { error: "No such job", request });
  await shows(" false No such job");

  await render(h(Stream, { url, id: "b" }));
  await shows(" false undefined");
  await render(h(Stream, { url, id: null }));

  await shows(" false undefined");
});

test("useStream reads again when a closed socket is opened again", async t => {
  let ours;
  function Page({ url }) {
    ours = hooks.useSocket({ url, ...options }).socket;
    return h(Stream, { url, id: "a" });
  }
  const server = await serve(t);
  const { shows } = await mount(t, h(Page, { url: server.url }));
  const peer = await server.peer();
  await peer.welcome();
  peer.chunk("a", 1, "a");
  await shows("a false undefined");
  await act(async () => ours.close());
  await shows("a false closed");

  await act(async () => ours.connect());
  const again = await server.peer();
  await again.welcome({ jobs: [jobOf("a", 2, { state: "succeeded", chunks: 1 })] });
  again.chunk("a", 1, "a");

  await shows("a true undefined");
});

test("on a server nothing is joined, read or known", () => {
  const page = h("p", null, h(Room, { name: "room:7" }), h(Messages, {}), h(Jobs, {}), h(Stream, { id: "a" }));

  assert.equal(renderToString(page), "<p><i>undefined joining  fine;</i><i></i><i> true undefined</i><i> false undefined</i></p>");
});
