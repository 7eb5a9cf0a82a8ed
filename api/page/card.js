// How a job, or a file on its way to become one, looks. Knows neither.

const $ = id => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });

export function newCard() {
  return $("card-template").content.cloneNode(true).firstElementChild;
}

/**
 * Show all there is to say.
 *
 * `percent` is a number, undefined for "not known yet", or null for "it will not be". `endedAt` is Unix time in seconds.
 * `button` is {label, press}, or null if there is nothing to press; without `press` it can be seen and not pressed.
 */
export function fill(card, { title, state, percent, words, endedAt, button }) {
  const bar = card.querySelector("progress");
  card.dataset.state = state;
  card.querySelector(".title").textContent = card.querySelector(".title").title = title;
  bar.setAttribute("aria-label", `Progress of ${title}`);
  bar.hidden = percent === null;
  if (typeof percent === "number") bar.value = percent;
  else bar.removeAttribute("value");
  card.querySelector(".percent").textContent = typeof percent === "number" ? `${percent} %` : "";
  card.querySelector(".words").textContent = words;
  showTime(card.querySelector("time"), endedAt);
  showButton(card, title, button);
}

/** Show rows that were rejected, of `count` in all. */
export function showRejected(card, rows, count) {
  const more = count > rows.length ? `, the first ${rows.length} of them` : "";
  card.querySelector("details").hidden = false;
  card.querySelector("summary").textContent = `${plural(count, "rejected row")}${more}`;
  card.querySelector("tbody").replaceChildren(...rows.map(({ line, reasons }) => {
    const row = document.createElement("tr");
    row.insertCell().textContent = number.format(line);
    row.insertCell().textContent = reasons.join("; ");
    return row;
  }));
}

/** Say why a button did not do what it should; "" when it has. */
export function showProblem(card, text) {
  card.querySelector(".error").textContent = text;
}

/** Have it read aloud, when the reader has a moment. */
export function announce(text) {
  $("announcement").textContent = text;
}

function showTime(time, seconds) {
  time.hidden = !seconds;
  if (!seconds) return;
  const moment = new Date(seconds * 1000);
  time.dateTime = moment.toISOString();
  time.textContent = clock.format(moment);
}

function showButton(card, title, wanted) {
  const button = card.querySelector("button");
  const hadFocus = button === document.activeElement;
  button.hidden = !wanted;
  if (!wanted) {
    if (hadFocus) card.focus(); // not lost: the next Tab goes on from here
    return;
  }
  button.textContent = wanted.label;
  button.setAttribute("aria-label", `${wanted.label} ${title}`);
  // Not `disabled`, which would lose the focus, too.
  button.setAttribute("aria-disabled", String(!wanted.press));
  button.onclick = wanted.press ?? null;
}

function plural(count, word) {
  return `${number.format(count)} ${word}${count === 1 ? "" : "s"}`;
}
