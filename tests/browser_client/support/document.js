/** A document to render React into, and components that show what the hooks return. */

import { after, before } from "node:test";
import { createElement as h } from "react";
import { Window } from "happy-dom";
import { inTime, MS, TIMING, WebSocket } from "./server.js";

export { h };

export const options = { WebSocket, storage: null, timing: { ...TIMING, again: 50 * MS } };
export let act, hooks, useSocket, renderToString, hydrateRoot;
let createRoot;

before(async () => {
  const window = new Window();
  globalThis.navigator ??= window.navigator; // Node has one from version 21
  Object.assign(globalThis, { window, document: window.document, IS_REACT_ACT_ENVIRONMENT: true });
  ({ act } = await import("react"));
  ({ createRoot, hydrateRoot } = await import("react-dom/client"));
  ({ renderToString } = await import("react-dom/server"));
  hooks = await import("qrsocket/react");
  ({ useSocket } = hooks);
});

after(() => window.happyDOM.close());

export function Connection({ url, more }) {
  const { socket, state } = useSocket({ url, ...options, ...more });
  return h("p", null, `${state} ${socket ? "socket" : "none"} ${socket?.user}`);
}

export function Progress({ url, id, renders = [] }) {
  const job = hooks.useJob(id, { url });
  renders.push(id);
  return h("b", null, job ? `${job.id} ${job.percent}` : String(job));
}

/** Render into a container of its own; `shows` waits until that is its text. */
export async function mount(t, element) {
  const container = document.createElement("div");
  const root = createRoot(container);
  const render = content => act(async () => root.render(content));
  t.after(() => act(async () => root.unmount()));
  await render(element);
  return { root, render, shows: text => shows(container, text), container };
}

export function shows(container, text) {
  return inTime((async () => {
    while (container.textContent !== text) await act(() => new Promise(resolve => setTimeout(resolve, 2)));
  })(), `it shows ${container.textContent}`);
}
