// The console: asks for the state of the application every two seconds, and shows it. Nothing is made from HTML text.

const script = document.getElementById("script");
const { name, up } = script.dataset;
const base = new URL(up, location.href);
const EVERY = 2000, POINTS = 60, KEPT = 20;
const TRAIL_AFTER = 500; // nodes note what they did a moment later
const $ = id => document.getElementById(id);
const STATES = ["queued", "waiting", "started", "retrying", "requeued", "succeeded", "failed", "timeout", "cancelled", "lost"];
const ENDED = new Set(STATES.slice(5));

let socket, openedAt, shown;
const rates = [];

// Asking

async function ask(path, order, about = {}) {
  // The page's own query is the application's, and may have the same names: ours go last, and count.
  const query = new URLSearchParams([...new URLSearchParams(location.search), ...Object.entries(about)]);
  const connection = socket?.headers["X-Socket-Connection"];
  if (connection && !order) query.set("connection", connection);
  const init = order && { method: "POST", body: JSON.stringify(order), headers: { "Content-Type": "application/json" } };
  const answer = await fetch(new URL(`${name}/${path}?${query}`, new URL(".", location.href)), {
    ...init, signal: AbortSignal.timeout(10_000),
  });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(typeof body.detail === "string" ? body.detail : `the server answers ${answer.status}`);
  return body;
}

async function poll() {
  try {
    if (!document.hidden || !shown) {
      show(await ask("state"));
      await showTrail();
    }
  } catch (error) {
    put($("live"), `Not live: ${error.message}`);
    $("live").className = "bad";
  }
  setTimeout(poll, EVERY);
}

async function order(path, body, words) {
  try {
    say(words(await ask(path, body)));
  } catch (error) {
    say(`Not done: ${error.message}`);
  }
}

let saidUntil;
function say(words) {
  put($("said"), words);
  clearTimeout(saidUntil);
  saidUntil = setTimeout(() => put($("said"), ""), 6000);
}

// Showing

function show(state) {
  shown = state;
  const { status } = state;
  put($("application"), state.application);
  $("live").className = "good";
  put($("live"), "Live");
  put($("when"), `${new Date().toLocaleTimeString()}, by ${state.node}`); // no status: nobody wants to hear it each time
  list($("troubles"), status.troubles);
  showNow(status);
  showOwn(state);
  showJobs(state);
  showRest(status);
}

function showNow(status) {
  const figures = status.nodes.map(node => node.figures).filter(Boolean);
  const sum = of => figures.reduce((total, one) => total + one[of], 0);
  const rate = Math.round(sum("messages_per_second") * 10) / 10;
  rates.push(rate);
  if (rates.length > POINTS) rates.shift();
  const most = Math.max(...rates, 1);
  const points = rates.map((one, i) => `${((i + POINTS - rates.length) * 120) / (POINTS - 1)},${29 - (28 * one) / most}`);
  $("rate").firstElementChild.setAttribute("points", points.join(" "));
  put($("rate-now"), String(rate));
  const jobs = of => of.reduce((total, state) => total + (status.jobs[state] ?? 0), 0);
  pairs($("tiles"), {
    "users online": status.users ?? "too many",
    connections: sum("connections"),
    topics: status.topics ?? "too many",
    "jobs running": jobs(["started"]),
    "jobs waiting": jobs(["queued", "waiting", "retrying", "requeued"]) + (status.others ? "+" : ""),
    "failed or lost": jobs(["failed", "timeout", "lost"]),
  }, true);
}

function showOwn(state) {
  const id = socket?.headers["X-Socket-Connection"];
  pairs($("own"), id ? {
    State: "open", Id: id, User: socket.user ?? "none", Node: state.your_node ?? "…", Protocol: "qrsocket.v1",
    Since: new Date(openedAt).toLocaleTimeString(),
  } : { State: why });
}

function showJobs({ jobs, status }) {
  const wanted = $("state").value;
  put($("others"), status.others ? `${status.others} more have not ended` : "");
  table($("jobs"), jobs.filter(job => !wanted || job.state === wanted), job => `${job.id} ${job.owner}`, job => [
    [job.title ?? job.task, job.message, job.error].filter(Boolean).join(" · "),
    { text: job.id, tone: "id" },
    job.user ?? "none",
    stateOf(job),
    timeline(job),
    ENDED.has(job.state) || job.cancelling ? "" : action("Cancel", `Cancel ${job.task} of ${job.user ?? "nobody"}`, () =>
      order("cancel", { owner: job.owner, id: job.id }, told => `The job is ${told.state === "started" ? "told to stop" : told.state}`)),
  ]);
}

function stateOf(job) {
  const tone = ["failed", "timeout", "lost"].includes(job.state) ? "bad" : job.state === "succeeded" ? "good" : "state";
  const more = [job.percent != null && !ENDED.has(job.state) && `${job.percent} %`, job.attempt > 1 && `attempt ${job.attempt}`, job.cancelling && "stopping"];
  return toned([job.state, ...more.filter(Boolean)].join(", "), tone);
}

function timeline(job) {
  const now = Date.now() / 1000;
  const steps = [`queued ${new Date(job.queued_at * 1000).toLocaleTimeString()}`];
  if (job.started_at) steps.push(`started after ${span(job.started_at - job.queued_at)}`);
  if (job.ended_at) steps.push(`${job.state} after ${span(job.ended_at - (job.started_at ?? job.queued_at))}`);
  else steps.push(`for ${span(now - (job.started_at ?? job.queued_at))} now`);
  return steps.join(" → ");
}

async function showTrail() {
  const of = $("why-of").value, which = $("why-which").value.trim();
  const told = which ? await ask("trail", undefined, { of, id: which }) : { is_kept: true, lines: [], verdict: "" };
  if (which !== $("why-which").value.trim() || of !== $("why-of").value) return; // another was asked for meanwhile
  const unknown = told.is_kept ? "Nothing is known of it: it was not sent, or too long ago"
    : "No trails are kept: set QRSOCKET_TRAIL_SECONDS, for web nodes, workers and whatever else sends";
  list($("trail"), told.lines);
  put($("verdict"), told.lines.length || !which ? told.verdict ?? "" : unknown);
}

function showRest(status) {
  const ofNodes = of => status.nodes.flatMap(node => (node.figures?.[of] ?? []).map(one => ({ ...one, node: node.name })));
  table($("refusals"), ofNodes("refusals").sort((a, b) => b.at - a.at), one => `${one.at} ${one.node} ${one.what}`, one => [
    new Date(one.at * 1000).toLocaleTimeString(), toned(one.what, "bad"), one.cause, one.user ?? "none", one.node,
  ]);
  table($("slowest"), ofNodes("slowest").sort((a, b) => b.longest - a.longest), one => `${one.handler} ${one.node}`, one => [
    one.handler, String(one.times), `${Math.round(one.longest * 1000)} ms`, one.node,
  ]);
  table($("queues"), status.queues, queue => queue.name, queue => [
    queue.name, String(queue.jobs), span(queue.seconds),
    queue.is_consumed ? toned("yes", "good") : toned("none: nobody consumes it", "bad"),
  ]);
  table($("nodes"), status.nodes, node => node.name, ({ name, lease_left, figures: said }) => [
    name,
    ...(said ? [
      `${said.host}:${said.pid}, ${said.version}`, span(Date.now() / 1000 - said.since), String(said.connections),
      String(said.messages_per_second), size(said.waiting_bytes), String(said.behind),
      `${Math.round(said.lag * 1000)} ms`,
    ] : ["says nothing", "", "", "", "", "", ""]),
    toned(span(Math.max(lease_left, 0)), lease_left > 0 ? "" : "bad"),
  ]);
  table($("workers"), status.workers, worker => worker.name, ({ name, lease_left, card }) => [
    name, ...(card ? [`${card.host}:${card.pid}, ${card.version}`, `${card.pool}, ${card.concurrency} at once`, card.queues.join(", ")] : ["", "", ""]),
    span(lease_left),
  ]);
  const schedules = new Map(status.workers.flatMap(({ card }) => card?.schedules ?? []).map(one => [`${one.name} ${one.task}`, one]));
  table($("schedules"), [...schedules.values()], one => `${one.name} ${one.task}`, one => [one.name, one.task, one.when]);
  table($("online"), status.some_users, user => user, user => [
    user, action("Close", `Close connections of ${user}`, () => confirm(`Close all connections of ${user}?`) &&
      order("close", { user }, told => `${count(told.connections, "connection")} of ${user} closed`)),
  ]);
  const more = status.users == null ? 0 : status.users - status.some_users.length;
  put($("more-online"), more > 0 ? `and ${more} more` : "");
  const users = status.some_users.join("\n");
  if ($("users").dataset.users !== users) {
    $("users").dataset.users = users;
    $("users").replaceChildren(...status.some_users.map(user => Object.assign(document.createElement("option"), { value: user })));
  }
}

const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
const size = bytes => bytes < 1024 ? `${bytes} B` : bytes < 1048576 ? `${Math.round(bytes / 1024)} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`;

function span(seconds) {
  if (seconds < 10) return `${Math.max(seconds, 0).toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;
}

// Elements: changed only where something has, so that the focus stays, and screen readers are not told the same again

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const toned = (text, tone) => ({ text, tone });
const action = (text, label, act) => ({ text, label, act });

function cell(element, content) {
  const { text, tone = "", label, act } = typeof content === "string" ? { text: content } : content;
  element.className = tone;
  if (!act) return put(element, text);
  let button = element.querySelector("button");
  if (!button) {
    button = document.createElement("button");
    button.type = "button";
    button.addEventListener("click", () => button.act());
    element.replaceChildren(button);
  }
  put(button, text);
  button.setAttribute("aria-label", label);
  button.act = act;
}

function table(element, items, keyOf, cellsOf) {
  const body = element.tBodies[0], labels = [...element.tHead.rows[0].cells].map(head => head.querySelector(".hidden") ? "" : head.textContent);
  const rows = new Map([...body.rows].map(row => [row.dataset.key, row]));
  const focused = document.activeElement;
  items.forEach((item, index) => {
    const key = keyOf(item);
    const row = rows.get(key) ?? newRow(key, labels);
    rows.delete(key);
    cellsOf(item).forEach((content, number) => cell(row.cells[number], content));
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
  });
  rows.forEach(row => row.remove());
  if (!body.rows.length) body.replaceChildren();
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

function newRow(key, labels) {
  const row = document.createElement("tr");
  row.dataset.key = key;
  for (const label of labels) row.insertCell().dataset.label = label;
  return row;
}

function pairs(element, values, areTiles) {
  Object.entries(values).forEach(([term, value], index) => {
    let holder = areTiles ? element.children[index] : element;
    if (areTiles && !holder) element.append(holder = document.createElement("div"));
    const at = areTiles ? 0 : 2 * index;
    if (!holder.children[at]) holder.append(document.createElement("dt"), document.createElement("dd"));
    put(holder.children[at], term);
    put(holder.children[at + 1], String(value));
  });
  if (!areTiles) while (element.children.length > 2 * Object.keys(values).length) element.lastElementChild.remove();
}

function list(element, texts) {
  if (element.children.length === texts.length && texts.every((text, i) => element.children[i].textContent === text)) return;
  element.replaceChildren(...texts.map(text => Object.assign(document.createElement("li"), { textContent: text })));
}

// This page's own connection

let why = "connecting";

async function connectOwn() {
  const { connect } = await import(new URL("client.js", base));
  const url = new URL(base.pathname.replace(/\/$/, "") + location.search, base);
  socket = connect(url, { storage: null });
  socket.on("state", (state, cause) => {
    if (state === "ready") openedAt ??= Date.now();
    else openedAt = undefined;
    const told = [state, cause?.reason, cause?.code].filter(Boolean).join(", ");
    why = state === "offline" ? `${told}: refused, or the server is away. It tries again` : told;
    if (shown) showOwn({ ...shown, your_node: state === "ready" ? undefined : null });
  });
  socket.on("message", message => {
    const bytes = message instanceof ArrayBuffer ? message.byteLength : undefined;
    const text = typeof message === "string" ? message : bytes == null ? JSON.stringify(message) : `${bytes} bytes`;
    const item = document.createElement("li");
    item.textContent = `${new Date().toLocaleTimeString()} ${shown?.shows_payloads ? text : "a message"}`;
    $("inbox").prepend(item);
    if ($("inbox").children.length > KEPT) $("inbox").lastElementChild.remove();
  });
}

$("state").append(...STATES.map(state => new Option(state, state)));
$("state").addEventListener("change", () => shown && showJobs(shown));
$("why").addEventListener("submit", event => event.preventDefault());
$("why").addEventListener("input", () => showTrail().catch(() => {})); // the next poll says what is wrong
$("send").addEventListener("submit", async event => {
  event.preventDefault();
  const text = $("message").value, user = $("to").value;
  let message = text;
  try {
    message = JSON.parse(text);
  } catch {} // it goes as a text
  try {
    const told = await ask("send", { user, message });
    $("why-of").value = "message";
    $("why-which").value = told.message_id;
    setTimeout(() => showTrail().catch(() => {}), TRAIL_AFTER);
    put($("sent"), told.connections ? `Sent to ${count(told.connections, "connection")} on ${count(told.nodes, "node")}` : `${user} is offline`);
  } catch (error) {
    put($("sent"), `Not sent: ${error.message}`);
  }
});
connectOwn().catch(error => (why = error.message)).finally(poll);
