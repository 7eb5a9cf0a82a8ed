// Files on their way to the server, which makes each a job.

import { announce, fill, newCard } from "./card.js";
import { addUpload, becomesJob, removeUpload } from "./jobs.js";

const MOST_BYTES = 16 * 1024 * 1024; // the server refuses more, too

const $ = id => document.getElementById(id);

$("import-sample").addEventListener("click", () => start("characters.csv", async () => {
  const answer = await fetch("/sample.csv");
  if (!answer.ok) throw new Error(detail(answer.status, await answer.text()));
  return answer.blob();
}));

$("file").addEventListener("change", () => {
  for (const file of $("file").files) start(file.name, () => file);
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
  for (const file of event.dataTransfer.files) start(file.name, () => file);
});

async function start(name, getFile) {
  const upload = { card: newCard(), name };
  const stopping = new AbortController();
  const cancel = { label: "Cancel", press: () => stopping.abort() };
  const say = words => fill(upload.card, { title: name, state: "uploading", words, button: cancel });
  say("Uploading…");
  addUpload(upload);
  try {
    const job = await send(name, await getFile(), stopping.signal, percent => {
      say(percent < 100 ? `Uploading: ${percent} %` : "Uploaded…");
    });
    fill(upload.card, { title: name, state: "queued", words: "Waiting for a worker…", button: null });
    becomesJob(upload, job.id);
  } catch (error) {
    if (stopping.signal.aborted) return removeUpload(upload);
    const dismiss = { label: "Dismiss", press: () => removeUpload(upload) };
    upload.name = null; // no job comes of it
    fill(upload.card, { title: name, state: "failed", percent: null, words: error.message, button: dismiss });
    announce(`${name}: ${error.message}`);
  }
}

/** `fetch` cannot tell how much it has sent, so that this is an XMLHttpRequest. Resolves to the job. */
function send(name, file, signal, onPercent) {
  if (file.size > MOST_BYTES) throw new Error("The file is larger than 16 MiB.");
  const form = new FormData();
  form.append("file", file, name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    signal.throwIfAborted();
    signal.addEventListener("abort", () => request.abort());
    request.upload.onprogress = ({ loaded, total }) => onPercent(Math.floor((100 * loaded) / total));
    request.upload.onload = () => onPercent(100);
    request.onabort = () => reject(signal.reason);
    request.onerror = () => reject(new Error("The server cannot be reached."));
    request.onload = () => {
      if (request.status === 202) resolve(JSON.parse(request.responseText));
      else reject(new Error(detail(request.status, request.responseText)));
    };
    request.open("POST", "/socket/imports");
    request.send(form);
  });
}

function detail(status, text) {
  try {
    const { detail } = JSON.parse(text);
    if (typeof detail === "string") return detail;
  } catch {
    // Not ours: a proxy's, say.
  }
  return `The server answered ${status}.`;
}
