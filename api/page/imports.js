// Imports of CSV files: sent from here, and shown wherever the same user looks.

const MOST_BYTES = 16 * 1024 * 1024; // the server refuses more, too
const MOST_CARDS = 5;

const $ = id => document.getElementById(id);
const cards = new Map(); // job id -> its card
const number = new Intl.NumberFormat("en");

/** Show what the worker says of an import. Each message says everything. */
export function report({ id, file, state, percent, stored, rejected, rows = [], reason = "" }) {
  const card = cardOf(id, file);
  const counts = `${number.format(stored)} stored` + (rejected ? `, ${number.format(rejected)} rejected` : "");
  const texts = { running: counts, done: `Done: ${counts}`, refused: stored ? `${reason} Before that: ${counts}.` : reason };
  show(card, { file, state, percent: state === "refused" ? null : percent, status: texts[state] });
  if (rows.length) showRejected(card, rows, rejected);
  if (state !== "running") $("announcement").textContent = `${file}: ${texts[state]}`;
}

/** Show that a job failed of which the worker could not say more. */
export function job({ id, task, state }) {
  if (!task.endsWith(".import_csv") || state !== "failed") return;
  const card = cardOf(id, "CSV file");
  if (card.dataset.state === "refused") return;
  show(card, { state, percent: null, status: "It failed. The worker’s log says why." });
}

$("import-sample").addEventListener("click", () => start("characters.csv", "Making the sample…", async () => {
  const answer = await fetch("/sample.csv");
  if (!answer.ok) throw new Error(await detail(answer));
  return new File([await answer.blob()], "characters.csv");
}));

$("file").addEventListener("change", () => {
  for (const file of $("file").files) start(file.name, "", () => file);
  $("file").value = ""; // so that the same file can be chosen again
});

$("imports").addEventListener("dragover", event => {
  event.preventDefault();
  $("drop").classList.add("over");
});
$("imports").addEventListener("dragleave", () => $("drop").classList.remove("over"));
$("imports").addEventListener("drop", event => {
  event.preventDefault();
  $("drop").classList.remove("over");
  for (const file of event.dataTransfer.files) start(file.name, "", () => file);
});

async function start(name, status, getFile) {
  const card = newCard(name, status);
  try {
    await upload(card, await getFile());
  } catch (error) {
    const text = error instanceof TypeError ? "The server cannot be reached." : error.message; // fetch's are TypeErrors
    show(card, { state: "failed", percent: null, status: text });
    $("announcement").textContent = text;
  }
}

async function upload(card, file) {
  if (file.size > MOST_BYTES) throw new Error("The file is larger than 16 MiB.");
  show(card, { state: "waiting", status: "Uploading…" });
  const path = `/imports?file=${encodeURIComponent(file.name)}`;
  const answer = await fetch(path, { method: "POST", body: file, headers: { "Content-Type": "text/csv" } });
  if (!answer.ok) throw new Error(await detail(answer));
  const { id } = await answer.json();
  if (cards.has(id)) {
    card.remove(); // the job was faster than the answer
  } else {
    cards.set(id, card);
    show(card, { state: "waiting", status: "Waiting for a worker…" });
  }
}

async function detail(answer) {
  const { detail } = await answer.json().catch(() => ({}));
  return typeof detail === "string" ? detail : `The server answered ${answer.status}.`;
}

function cardOf(id, file) {
  if (!cards.has(id)) cards.set(id, newCard(file, "Started…"));
  return cards.get(id);
}

function newCard(file, status) {
  const card = $("import-template").content.cloneNode(true).firstElementChild;
  $("import-list").prepend(card);
  while ($("import-list").children.length > MOST_CARDS) $("import-list").lastElementChild.remove();
  show(card, { file, state: "waiting", status });
  return card;
}

/** `percent` is a number, undefined for "not known yet", or null for "it will not be". */
function show(card, { file, state, percent, status }) {
  const bar = card.querySelector("progress");
  card.dataset.state = state;
  if (file) card.querySelector(".file").textContent = file;
  bar.setAttribute("aria-label", `Progress of ${card.querySelector(".file").textContent}`);
  bar.hidden = percent === null;
  if (typeof percent === "number") bar.value = percent;
  card.querySelector(".percent").textContent = typeof percent === "number" ? `${percent} %` : "";
  card.querySelector(".status").textContent = status;
}

function showRejected(card, rows, count) {
  const more = count > rows.length ? `, the first ${rows.length} of them` : "";
  card.querySelector("details").hidden = false;
  card.querySelector("summary").textContent = `${number.format(count)} rejected rows${more}`;
  card.querySelector("tbody").replaceChildren(...rows.map(({ line, reasons }) => {
    const row = document.createElement("tr");
    row.insertCell().textContent = number.format(line);
    row.insertCell().textContent = reasons.join("; ");
    return row;
  }));
}
