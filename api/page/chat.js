// What is said in the room: what is kept in its order, and what is not kept yet below that.

import { hasEnded } from "/socket/client.js";

const BOT = "@bot";
const ANSWER = "worker.tasks.answer";
const MOST_ITEMS = 200;
const SILENCE_MS = 15_000; // after so long nobody writes an answer any more

const $ = id => document.getElementById(id);
const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
const items = new Map(); // who and key -> its element
let socket;
let isLoaded = false;

/** Show what is said in a room from now on, and what was said before. */
export function follow(overSocket, room) {
  socket = overSocket;
  room.on("message", ({ said }) => said && (said.id ? show(said) : showWriting(said)));
  room.on("gap", load);
  room.on("state", (state, why) => {
    if (state === "joined" && !isLoaded) load();
    if (state === "refused") note(`You cannot be in this room: ${why}`);
  });
  socket.on("job", job => job.task === ANSWER && showAnswer(job));
}

/** Put a word of our own among what is said. */
export function note(text) {
  const item = document.createElement("li");
  item.className = "note";
  item.textContent = text;
  change(() => $("messages").append(item));
}

$("say").addEventListener("submit", event => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (text) say({ who: socket.user, key: newKey(), text });
  $("text").value = "";
});

$("ask").addEventListener("click", () => {
  if (!$("text").value.startsWith(BOT)) $("text").value = `${BOT} ${$("text").value}`;
  $("text").focus();
});

/** What fails may be said again: under its key it is said once, whatever became of it before. */
async function say(said) {
  show(said, { state: "sending", words: "Sending…" });
  $("log").scrollTop = $("log").scrollHeight;
  try {
    show(await socket.request({ do: "say", key: said.key, text: said.text }));
  } catch ({ message }) {
    const button = { label: "Try again", press: () => say(said) };
    show(said, { state: "failed", words: `Not sent: ${message}.`, button });
  }
}

async function load() {
  isLoaded = true;
  try {
    for (const said of await socket.request({ do: "history" })) show(said);
  } catch ({ message }) {
    isLoaded = false; // it is asked for again when the room is joined again
    note(`What was said before could not be loaded: ${message}`);
  }
}

/** To who has asked, an answer is shown as one from the moment that its job is queued. */
function showAnswer(job) {
  const answer = { who: BOT, key: job.id, text: "" };
  const item = items.get(nameOf(answer));
  if (!hasEnded(job)) return showWriting({ ...answer, text: item?.querySelector(".text").textContent ?? "" });
  if (!item || item.dataset.id) return;
  remove(item);
  if (job.state !== "succeeded" && job.state !== "cancelled") note(`${BOT} could not answer`);
}

/** Show an answer as far as it is written; who has asked may stop it. */
function showWriting(said) {
  const job = socket.jobs.get(said.key);
  const stop = job && !job.cancelling && { label: "Stop", press: () => socket.jobs.cancel(job.id).catch(() => {}) };
  const words = job?.state === "waiting" || job?.state === "requeued" ? "Waiting for a worker…" : "Writing…";
  show(said, { state: "writing", words: job?.cancelling ? "Stopping…" : words, button: stop });
  const item = items.get(nameOf(said));
  if (!item.dataset.id && !job) item.timer = setTimeout(remove, SILENCE_MS, item);
}

/** Show it; what is kept already does not change any more. Without an id it is not kept yet. */
function show(said, { state = "kept", words = "", button } = {}) {
  const item = items.get(nameOf(said)) ?? newItem(said);
  if (item.dataset.id) return;
  clearTimeout(item.timer);
  change(() => {
    item.dataset.state = state;
    item.querySelector(".text").textContent = said.text || "…";
    item.querySelector(".words").textContent = words;
    item.querySelector(".foot").hidden = !words;
    showTime(item.querySelector("time"), said.at);
    showButton(item.querySelector("button"), button);
    if (said.id || !item.isConnected) place(item, said.id);
  });
}

function newItem(said) {
  const item = $("said-template").content.cloneNode(true).firstElementChild;
  item.className = said.who === socket.user ? "mine" : said.who === BOT ? "bot" : "theirs";
  item.querySelector("strong").textContent = said.who === socket.user ? "You" : said.who;
  items.set(nameOf(said), item);
  return item;
}

/** By its id, and before all that is not kept yet. */
function place(item, id = Infinity) {
  const isKept = id < Infinity;
  const isUnkept = other => other.dataset.state && !other.dataset.id;
  const isLater = other => other !== item && (other.dataset.id > id || (isKept && isUnkept(other)));
  const next = [...$("messages").children].find(isLater);
  $("messages").insertBefore(item, next ?? null);
  if (isKept) item.dataset.id = id;
}

function remove(item) {
  for (const [name, one] of items) if (one === item) items.delete(name);
  item.remove();
}

/** Change the list, which keeps its length, and stay at its end if that is what was seen. */
function change(work) {
  const log = $("log");
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  work();
  if ($("messages").children.length > MOST_ITEMS) remove($("messages").firstElementChild);
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}

function showTime(time, seconds) {
  if (!seconds) return;
  const moment = new Date(seconds * 1000);
  time.dateTime = moment.toISOString();
  time.textContent = clock.format(moment);
}

function showButton(button, wanted) {
  if (!wanted && button === document.activeElement) $("log").focus(); // not lost: the next Tab goes on from here
  button.hidden = !wanted;
  button.textContent = wanted?.label ?? "";
  button.onclick = wanted?.press ?? null;
}

function nameOf({ who, key }) {
  return `${who}/${key}`;
}

/** 32 hexadecimal digits. (`crypto.randomUUID` is not there on a page without HTTPS.) */
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, "0")).join("");
}
