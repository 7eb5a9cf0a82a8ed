"use client";

/** The client for React: one socket per URL in a page, open while a component uses it. Typed in react.d.ts. */

import { useCallback, useEffect, useInsertionEffect, useRef, useState, useSyncExternalStore } from "react";
import { connect } from "./client.js";

const SOCKET = "/socket";
const UNOPENED = { socket: undefined, state: "connecting" };
const UNUSED = { socket: undefined, state: "closed" };
const UNJOINED = { topic: undefined, state: "joining", members: [], error: undefined };
const NO_TOPIC = { ...UNJOINED, state: "left" };
const UNKNOWN_JOBS = { jobs: [], isLoading: true, error: undefined };
const NO_JOBS = { ...UNKNOWN_JOBS, isLoading: false };
const NO_TEXT = { text: "", isDone: false, error: undefined };
const NO_MESSAGES = [];
const ASYNC = "async";

const entries = new Map(); // by URL
const chosen = new Map(); // options given so far, by URL

export function useSocket({ url = SOCKET, enabled = true, ...options } = {}) {
  const wasEnabled = useRef(enabled);
  // An insertion effect: it comes before any component subscribes, so that the order of components does not matter.
  useInsertionEffect(() => {
    if (enabled) {
      chosen.set(url, { ...chosen.get(url), ...options });
      beginAnew(url, !wasEnabled.current);
    }
    wasEnabled.current = enabled;
  });
  return useOpened(url, enabled);
}

export function useTopic(name, { url = SOCKET, enabled = true } = {}) {
  const isUsed = enabled && name;
  return useEntry(url, isUsed, ({ topics }) => topics.get(name)?.snapshot ?? UNJOINED, isUsed ? UNJOINED : NO_TOPIC, name);
}

export function useMembers(name, options) {
  return useTopic(name, options).members;
}

export function useMessages(filter, { topic: name, url = SOCKET, limit = 100, enabled = true } = {}) {
  const { socket } = useOpened(url, enabled);
  const { topic } = useTopic(name, { url, enabled });
  const source = name === undefined ? socket : topic;
  const [heard, setHeard] = useState({});
  const wanted = useRef();
  useInsertionEffect(() => {
    wanted.current = { filter, limit };
  });
  useEffect(
    () =>
      source?.on("message", (data, about) => {
        const { filter, limit } = wanted.current;
        if (!fits(filter, data)) return;
        const message = { data, ...about };
        setHeard(before => ({ source, messages: [...(before.source === source ? before.messages : []), message].slice(-limit) }));
      }),
    [source],
  );
  return source && heard.source === source ? heard.messages : NO_MESSAGES;
}

function fits(filter, data) {
  if (typeof filter === "function") return filter(data);
  return filter === undefined || data?.type === filter || data?.kind === filter;
}

export function useJobs({ url = SOCKET, enabled = true } = {}) {
  return useEntry(url, enabled, entry => entry.jobs, enabled ? UNKNOWN_JOBS : NO_JOBS);
}

export function useJob(id, { url = SOCKET } = {}) {
  return useEntry(url, id, ({ snapshot: { socket } }) => {
    // The jobs come with the first "ready", and so does the user.
    return socket.jobs.get(id) ?? (socket.user === undefined ? undefined : null);
  });
}

export function useStream(id, { url = SOCKET } = {}) {
  const { socket, state } = useOpened(url, id);
  const [read, setRead] = useState({});
  const isOver = state === "closed";
  useEffect(() => {
    if (!socket || !id || isOver) return;
    const reading = new AbortController();
    readAll(socket, id, reading.signal, shown => setRead({ socket, id, shown }));
    return () => reading.abort();
  }, [socket, id, isOver]);
  const shown = read.socket === socket && read.id === id ? read.shown : NO_TEXT;
  return id && isOver && !shown.isDone ? { ...shown, error: shown.error ?? "closed" } : shown;
}

async function readAll(socket, id, signal, show) {
  let text = "";
  const say = more => signal.aborted || show({ ...NO_TEXT, text, ...more });
  try {
    for await (const piece of socket.jobs.read(id, { signal, anew: () => (text = "") })) say({ text: (text += piece) });
    say({ isDone: true });
  } catch (error) {
    say({ error: error.message });
  }
}

function useOpened(url, isUsed) {
  return useEntry(url, isUsed, entry => entry.snapshot, isUsed ? UNOPENED : UNUSED);
}

function useEntry(url, isUsed, look, initial, topic) {
  const subscribe = useCallback(onChange => (isUsed ? join(url, onChange, topic) : () => {}), [url, Boolean(isUsed), topic]);
  return useSyncExternalStore(
    subscribe,
    () => (isUsed && entries.has(url) ? look(entries.get(url)) : initial),
    () => initial,
  );
}

function join(url, onChange, topic) {
  const entry = entries.get(url) ?? open(url);
  clearTimeout(entry.closing);
  entry.changes.add(onChange);
  const release = topic && hold(entry, topic);
  return () => {
    release?.();
    entry.changes.delete(onChange);
    // Not at once: strict mode, and a change of page, leave and come back within the same task.
    if (!entry.changes.size) entry.closing = setTimeout(close, 0, url, chosen.get(url));
  };
}

/** A topic is joined while somebody uses it. One that was refused is asked for anew by whoever comes. */
function hold(entry, name) {
  const held = entry.topics.get(name) ?? { users: 0, snapshot: UNJOINED };
  entry.topics.set(name, held);
  clearTimeout(held.leaving);
  held.users++;
  const topic = entry.snapshot.socket.topic(name);
  const look = () => {
    held.snapshot = { topic, state: topic.state, members: topic.members, error: topic.error };
    entry.tell();
  };
  if (topic !== held.snapshot.topic) {
    topic.on("state", look);
    topic.on("members", look);
    look();
  }
  return () => {
    if (!--held.users) held.leaving = setTimeout(leave, 0, entry, name);
  };
}

function leave({ topics }, name) {
  topics.get(name).snapshot.topic.leave();
  topics.delete(name);
}

function open(url) {
  const entry = { changes: new Set(), topics: new Map(), tell: () => entry.changes.forEach(onChange => onChange()) };
  const auth = () => {
    const value = chosen.get(url)?.auth?.();
    Object.assign(entry, { told: asText(value), toldAt: performance.now(), isEnabledAnew: false });
    return value;
  };
  const socket = connect(url, { ...chosen.get(url), auth });
  const look = (state, why) => {
    entry.snapshot = { socket, state };
    entry.isRefused = state === "closed" && why.code >= 4100;
    lookAtJobs(why);
  };
  const lookAtJobs = why => {
    const isOver = socket.state === "closed";
    entry.jobs = {
      jobs: socket.jobs.list(),
      isLoading: socket.user === undefined && !isOver,
      error: isOver ? (why?.reason || entry.jobs.error || "closed") : undefined,
    };
    entry.tell();
  };
  look(socket.state);
  socket.on("job", () => lookAtJobs());
  socket.on("state", look);
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
