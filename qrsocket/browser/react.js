"use client";

/** The client for React: one socket per URL in a page, open while a component uses it. Typed in react.d.ts. */

import { useCallback, useInsertionEffect, useRef, useSyncExternalStore } from "react";
import { connect } from "./client.js";

const UNOPENED = { socket: undefined, state: "connecting" };
const UNUSED = { socket: undefined, state: "closed" };
const ASYNC = "async";

const entries = new Map(); // by URL
const chosen = new Map(); // options given so far, by URL

export function useSocket(url = "/socket", { enabled = true, ...options } = {}) {
  const wasEnabled = useRef(enabled);
  // An insertion effect: it comes before any component subscribes, so that the order of components does not matter.
  useInsertionEffect(() => {
    if (enabled) {
      chosen.set(url, { ...chosen.get(url), ...options });
      beginAnew(url, !wasEnabled.current);
    }
    wasEnabled.current = enabled;
  });
  return useEntry(url, enabled, entry => entry.snapshot, enabled ? UNOPENED : UNUSED);
}

export function useJob(id, url = "/socket") {
  return useEntry(url, id, ({ snapshot: { socket } }) => {
    // The jobs come with the first "ready", and so does the user.
    return socket.jobs.get(id) ?? (socket.user === undefined ? undefined : null);
  });
}

function useEntry(url, isUsed, look, initial) {
  const subscribe = useCallback(onChange => (isUsed ? join(url, onChange) : () => {}), [url, Boolean(isUsed)]);
  return useSyncExternalStore(
    subscribe,
    () => (isUsed && entries.has(url) ? look(entries.get(url)) : initial),
    () => initial,
  );
}

function join(url, onChange) {
  const entry = entries.get(url) ?? open(url);
  clearTimeout(entry.closing);
  entry.changes.add(onChange);
  return () => {
    entry.changes.delete(onChange);
    // Not at once: strict mode, and a change of page, leave and come back within the same task.
    if (!entry.changes.size) entry.closing = setTimeout(close, 0, url, chosen.get(url));
  };
}

function open(url) {
  const entry = { changes: new Set() };
  const auth = () => {
    const value = chosen.get(url)?.auth?.();
    Object.assign(entry, { told: asText(value), toldAt: performance.now(), isEnabledAnew: false });
    return value;
  };
  const socket = connect(url, { ...chosen.get(url), auth });
  const tell = () => entry.changes.forEach(onChange => onChange());
  entry.snapshot = { socket, state: socket.state };
  socket.on("job", tell);
  socket.on("state", (state, why) => {
    entry.snapshot = { socket, state };
    entry.isRefused = state === "closed" && why.code >= 4100;
    tell();
  });
  entries.set(url, entry);
  return entry;
}

/** Tries again what the server has refused, if there is something new to say: should that be so each time, not at once. */
function beginAnew(url, isEnabledAnew) {
  const entry = entries.get(url);
  if (!entry?.isRefused) return;
  entry.isEnabledAnew ||= isEnabledAnew;
  const { again = 1000 } = chosen.get(url).timing ?? {};
  const tryAgain = () => (entry.isEnabledAnew || hasNews(url, entry.told)) && entry.snapshot.socket.connect();
  clearTimeout(entry.retry);
  entry.retry = setTimeout(tryAgain, entry.toldAt + again - performance.now());
}

function hasNews(url, told) {
  if (told === ASYNC) return false; // it would ask somebody else each time
  try {
    return asText(chosen.get(url).auth?.()) !== told;
  } catch {
    return false;
  }
}

function asText(value) {
  if (!(value instanceof Promise)) return String(JSON.stringify(value));
  value.catch(() => {}); // for whoever awaits it
  return ASYNC;
}

function close(url, options) {
  const { snapshot, retry } = entries.get(url);
  clearTimeout(retry);
  entries.delete(url);
  if (options === chosen.get(url)) chosen.delete(url); // others are of a component that is about to subscribe
  snapshot.socket.close();
}
