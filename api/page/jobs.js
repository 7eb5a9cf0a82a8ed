// The user's imports, newest first: how far they are, how they ended, and the button to stop them.

import { hasEnded } from "/socket/client.js";
import { announce, fill, newCard, showProblem, showRejected } from "./card.js";

const TASK = "worker.tasks.import_csv";
const MOST_CARDS = 10;
const ATTENDED = new Set(["started", "retrying", "requeued"]); // their bar is where they were

const $ = id => document.getElementById(id);
const cards = new Map(); // job id -> its card
const uploads = []; // newest first: {card, name, id}, until their job is there
let socket;

/** Show the imports of this socket's user from now on. */
export function follow(ofUser) {
  socket = ofUser;
  socket.on("state", state => state === "ready" && draw());
  socket.on("gap", draw);
  socket.on("job", draw);
}

/** Show a file above the jobs, until its own is among them. */
export function addUpload(upload) {
  uploads.unshift(upload);
  draw();
}

/** Show it as the job with this id, as soon as that is heard of. */
export function becomesJob(upload, id) {
  upload.id = id;
  draw();
}

export function removeUpload(upload) {
  uploads.splice(uploads.indexOf(upload), 1);
  draw();
}

function draw() {
  for (const upload of uploads.filter(({ id }) => socket.jobs.get(id))) {
    uploads.splice(uploads.indexOf(upload), 1);
    if (cards.has(upload.id)) upload.card.remove(); // its title was cut, so that it was not known for ours
    else cards.set(upload.id, upload.card);
    upload.card.dataset.seq = 0; // it was sent from here: its end is news, however quickly that came
  }
  const shown = socket.jobs.list()
    .filter(job => job.task === TASK && (cards.has(job.id) || !isOnItsWay(job)))
    .filter((job, place) => place < MOST_CARDS || !hasEnded(job));
  for (const job of shown) show(job);
  for (const id of [...cards.keys()]) if (!shown.some(job => job.id === id)) forget(id);
  arrange([...uploads.map(upload => upload.card), ...shown.map(job => cards.get(job.id))]);
}

/**
 * Whether this may be the job of a file that is sent from here: it may be told of before the answer, which says its id.
 * One of that name from another device has to wait as long.
 */
function isOnItsWay(job) {
  return uploads.some(({ name, id }) => name === job.title && !id);
}

function forget(id) {
  cards.get(id).remove();
  cards.delete(id);
}

function arrange(wanted) {
  const list = $("job-list");
  wanted.forEach((card, place) => {
    // Only what is out of place: an element that is moved loses the focus.
    if (list.children[place] !== card) list.insertBefore(card, list.children[place] ?? null);
  });
}

function show(job) {
  const card = cards.get(job.id) ?? newCard();
  cards.set(job.id, card);
  if (card.dataset.seq === `${job.seq}`) return;
  const title = job.title ?? job.task;
  const words = wordsOf(job);
  if (card.dataset.seq && hasEnded(job)) announce(`${title}: ${words}`); // not of those that had ended before
  card.dataset.seq = job.seq;
  if (hasEnded(job)) showProblem(card, "");
  fill(card, {
    title, words, state: job.state, percent: percentOf(job), endedAt: job.ended_at, button: buttonOf(job, card),
  });
  if (job.result?.rows?.length) showRejected(card, job.result.rows, job.result.rejected);
}

function percentOf(job) {
  if (job.state === "succeeded") return 100;
  if (hasEnded(job)) return null;
  return ATTENDED.has(job.state) ? job.percent ?? undefined : undefined;
}

function wordsOf(job) {
  const before = job.message ? ` Before that: ${job.message}.` : "";
  switch (job.state) {
    case "queued": return "Waiting for a worker…";
    case "waiting": return job.place ? `Waiting: ${job.place} before it` : "Waiting: it is next";
    case "started": return job.cancelling ? "Stopping…" : job.message ?? "Started…";
    case "retrying": return "It failed, and will be tried again.";
    case "requeued": return "Its worker died. Another will take it over.";
    case "succeeded": return `Done: ${job.message ?? "there were no rows"}`;
    case "failed": return (job.error ?? "It failed. The worker’s log says why.") + before;
    case "timeout": return `It took too long, and was stopped.${before}`;
    case "cancelled": return (job.reason ? `It was not run: ${job.reason}.` : "Cancelled.") + before;
    case "lost": return `Its worker died, and no other takes it over. Import the file again.${before}`;
  }
}

function buttonOf(job, card) {
  if (hasEnded(job)) return null;
  return { label: "Cancel", press: job.cancelling ? null : () => cancel(job.id, card) };
}

async function cancel(id, card) {
  showProblem(card, "");
  try {
    await socket.jobs.cancel(id);
  } catch (error) {
    showProblem(card, `It could not be cancelled: ${error.message}.`);
  }
}
