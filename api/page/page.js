// The page: who is signed in, and what each message means.

import * as chat from "./chat.js";
import * as imports from "./imports.js";
import { hangUp, send, stayConnected, tryNow } from "./live.js";

const $ = id => document.getElementById(id);
const number = new Intl.NumberFormat("en");

const MEANING = {
  online: chat.setOnline,
  came: chat.came,
  left: chat.left,
  chat: chat.said,
  error: chat.failed,
  import: imports.report,
  job: imports.job,
  summary: showSummary,
};

function onMessage(message) {
  for (const [word, value] of Object.entries(message)) MEANING[word]?.(value);
}

function showSummary({ online, rows }) {
  chat.setOnline(online);
  const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  $("summary").textContent = `At ${time}: ${online.length} online, ${number.format(rows)} characters stored`;
}

const STATES = {
  connecting: ["Connecting…", ""],
  live: ["Live", ""],
  offline: ["Offline", "You are offline. Trying again…"],
  refused: ["Refused", "The server has closed the connection"],
};

function onState(state, reason) {
  const [word, text] = STATES[state];
  $("connection").dataset.state = state;
  $("connection").textContent = word;
  if (text) $("offline-text").textContent = reason && state === "refused" ? `${text}: ${reason}.` : text;
  // A try does not hide it, only its success.
  if (state !== "connecting") $("offline").hidden = state === "live";
}

/** Show the page of whoever is signed in; returns whether anybody is. */
async function mayConnect() {
  const { name } = await (await fetch("/me")).json();
  if (name) chat.begin(name);
  $("name").textContent = name ?? "";
  for (const id of ["room", "account", "connection", "summary"]) $(id).hidden = !name;
  $("welcome").hidden = Boolean(name);
  if (!name) $("sign-in-name").focus();
  return Boolean(name);
}

function connect() {
  return stayConnected({ mayConnect, onOpen: () => send({ do: "look" }), onMessage, onState });
}

$("sign-in").addEventListener("submit", async event => {
  event.preventDefault();
  try {
    const body = JSON.stringify({ name: $("sign-in-name").value });
    const answer = await fetch("/sign-in", { method: "POST", body, headers: { "Content-Type": "application/json" } });
    $("sign-in-error").textContent = answer.ok ? "" : "A name begins with a letter or a digit; spaces and . ’ - may follow.";
    if (answer.ok) connect();
  } catch {
    $("sign-in-error").textContent = "The server cannot be reached.";
  }
});

$("sign-out").addEventListener("click", async () => {
  await fetch("/sign-out", { method: "POST" });
  hangUp();
  location.reload();
});

$("try-now").addEventListener("click", tryNow);

connect();
