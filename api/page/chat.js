// Who is online, and what they say.

const MOST_MESSAGES = 200;
const WAITS = "You are offline. It is sent when you are back.";

const $ = id => document.getElementById(id);
const people = new Map(); // name -> its chip
const texts = new Map(); // request -> a text that was sent, while an error about it may come
let socket;
let me = "";

/** Say what is written over this socket. */
export function begin(over) {
  socket = over;
  socket.on("error", failed);
  socket.on("state", state => {
    if (state === "ready" && $("say-error").textContent === WAITS) $("say-error").textContent = "";
  });
}

export function setMe(name) {
  me = name;
}

export function setOnline(names) {
  for (const name of [...people.keys()]) if (!names.includes(name)) remove(name);
  for (const name of names) add(name);
  onChoice();
}

export function came(name) {
  if (name !== me) note(`${name} is online`);
  add(name);
  onChoice();
}

export function left(name) {
  if (name === me) return; // told to a page that has just come back
  remove(name);
  note(`${name} has left`);
  onChoice();
}

export function said({ from, to, text }) {
  const names = to.map(name => (name === me ? "you" : name)).join(", ");
  const item = document.createElement("li");
  item.className = from === me ? "mine" : "theirs";
  item.append(
    paragraph("who", from === me ? `To ${names}` : `${from} to ${names}`),
    paragraph("text", text),
  );
  append(item);
}

/** Put a word of our own among the messages. */
export function note(text) {
  const item = document.createElement("li");
  item.className = "note";
  item.textContent = text;
  append(item);
}

$("say").addEventListener("submit", event => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  try {
    texts.set(socket.send({ do: "say", to: chosen(), text }), text);
  } catch (error) {
    return failed({ error: `Not sent: ${error.message}.` });
  }
  if (texts.size > MOST_MESSAGES) texts.delete(texts.keys().next().value);
  $("text").value = "";
  $("say-error").textContent = socket.state === "ready" ? "" : WAITS;
});

/** Show why a message was not sent, and give it back. */
function failed({ error, request }) {
  $("say-error").textContent = error;
  $("text").value ||= texts.get(request) ?? "";
}

function chosen() {
  return [...people].filter(([, chip]) => chip.querySelector("input")?.checked).map(([name]) => name);
}

function add(name) {
  if (people.has(name)) return;
  const isMe = name === me;
  const chip = document.createElement(isMe ? "span" : "label");
  chip.className = "chip";
  if (!isMe) {
    const box = document.createElement("input");
    box.type = "checkbox";
    box.className = "unseen";
    box.addEventListener("change", onChoice);
    chip.append(box);
  }
  const face = document.createElement("span");
  face.className = "face";
  face.setAttribute("aria-hidden", "true");
  face.textContent = [...name][0].toUpperCase();
  face.style.setProperty("--hue", hue(name));
  const text = document.createElement("span");
  text.textContent = isMe ? `${name} (you)` : name;
  chip.append(face, text);
  people.set(name, chip);
  const after = [...people.keys()].filter(other => other !== me).sort().find(other => other > name);
  isMe ? $("people").prepend(chip) : $("people").insertBefore(chip, people.get(after) ?? null);
}

function remove(name) {
  people.get(name)?.remove();
  people.delete(name);
}

function onChoice() {
  const names = chosen();
  $("alone").hidden = people.size > 1 || !people.has(me);
  $("send").disabled = names.length === 0;
  $("text").placeholder = names.length ? `Message to ${names.join(", ")}` : "Choose somebody";
}

function append(item) {
  const list = $("messages");
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(item);
  if (list.children.length > MOST_MESSAGES) list.firstChild.remove();
  if (isAtEnd) list.scrollTop = list.scrollHeight;
}

function paragraph(className, text) {
  const element = document.createElement("p");
  element.className = className;
  element.textContent = text;
  return element;
}

function hue(name) {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 360;
  return sum;
}
