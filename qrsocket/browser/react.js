/** The client for React: one socket per URL in a page, open while a component uses it. Typed in react.d.ts. */

import { useCallback, useInsertionEffect, useSyncExternalStore } from "react";
import { connect } from "./client.js";

const NONE = { socket: undefined, state: "connecting" };

const entries = new Map(); // by URL
const chosen = new Map(); // options last given, by URL

export function useSocket(url = "/socket", options) {
  // An insertion effect: it comes before any component subscribes, so that the order of components does not matter.
  useInsertionEffect(() => {
    if (options) chosen.set(url, options);
  });
  const subscribe = useCallback(onChange => join(url, onChange), [url]);
  return useSyncExternalStore(subscribe, () => entries.get(url)?.snapshot ?? NONE, () => NONE);
}

export function useJob(id, url = "/socket") {
  const subscribe = useCallback(onChange => join(url, onChange), [url]);
  return useSyncExternalStore(subscribe, () => entries.get(url)?.snapshot.socket.jobs.get(id), () => undefined);
}

function join(url, onChange) {
  const entry = entries.get(url) ?? open(url);
  clearTimeout(entry.closing);
  entry.changes.add(onChange);
  return () => {
    entry.changes.delete(onChange);
    // Not at once: strict mode, and a change of page, leave and come back within the same task.
    if (!entry.changes.size) entry.closing = setTimeout(close, 0, url);
  };
}

function open(url) {
  const socket = connect(url, { ...chosen.get(url), auth: () => chosen.get(url)?.auth?.() });
  const entry = { snapshot: { socket, state: socket.state }, changes: new Set(), closing: undefined };
  const tell = () => entry.changes.forEach(onChange => onChange());
  socket.on("job", tell);
  socket.on("state", state => {
    entry.snapshot = { socket, state };
    tell();
  });
  entries.set(url, entry);
  return entry;
}

function close(url) {
  const { socket } = entries.get(url).snapshot;
  entries.delete(url);
  chosen.delete(url);
  socket.close();
}
