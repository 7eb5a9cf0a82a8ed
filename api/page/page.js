// The page: who is signed in, how the connection is, and the room that it joins.

import { connect } from "/socket/client.js";
import * as chat from "./chat.js";
import * as jobs from "./jobs.js";
import * as people from "./people.js";
import "./uploads.js";

const $ = id => document.getElementById(id);
const number = new Intl.NumberFormat("en");

const STATES = {
  connecting: "Connecting…",
  ready: "Live",
  offline: "Offline",
  closed: "Closed",
};

// `auth` is asked for each connection. Here the cookie says who it is, but that may have changed: in another tab, say.
const socket = connect("/socket", { auth: lookWhoIsSignedIn });

const room = socket.topic("room:team"); // joined when the socket is ready, and again each time that it comes back

people.follow(socket, room);
chat.follow(socket, room);
jobs.follow(socket);
showState(socket.state);

socket.on("state", showState);
socket.on("message", ({ summary }) => summary && showSummary(summary));

async function lookWhoIsSignedIn() {
  const { name } = await (await fetch("/me")).json();
  $("name").textContent = $("name").title = name ?? "";
  for (const id of ["room", "account", "connection", "summary"]) $(id).hidden = !name;
  $("welcome").hidden = Boolean(name);
  if (socket.user && name && name !== socket.user) location.reload(); // another one has signed in, in another tab
  if (name) return;
  socket.close();
  $("sign-in-name").focus();
}

function showState(state, why) {
  $("connection").dataset.state = state;
  $("connection").textContent = STATES[state];
  if (state === "offline") $("offline-text").textContent = "You are offline. Trying again…";
  if (state === "closed") $("offline-text").textContent = `The server has closed the connection: ${why.reason}.`;
  // A try does not hide it, only its success; and who is not signed in misses nothing.
  if (state !== "connecting") $("offline").hidden = state === "ready" || !$("welcome").hidden;
}

function showSummary({ members, rows }) {
  const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  $("summary").textContent = `At ${time}: ${members} in the room, ${number.format(rows)} characters stored`;
}

$("sign-in").addEventListener("submit", async event => {
  event.preventDefault();
  try {
    const body = JSON.stringify({ name: $("sign-in-name").value });
    const answer = await fetch("/sign-in", { method: "POST", body, headers: { "Content-Type": "application/json" } });
    $("sign-in-error").textContent = answer.ok ? "" : "A name begins with a letter or a digit; spaces and . ’ - may follow.";
    if (answer.ok) socket.connect();
  } catch {
    $("sign-in-error").textContent = "The server cannot be reached.";
  }
});

$("sign-out").addEventListener("click", async () => {
  await fetch("/sign-out", { method: "POST" });
  socket.close();
  location.reload();
});

$("try-now").addEventListener("click", () => socket.connect());
