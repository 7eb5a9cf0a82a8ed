// Who is in the room, and who is typing there.

import { note } from "./chat.js";

const SAID_EVERY_MS = 2000;
const TYPING_MS = 4000; // a word of it is good for so long: none comes when somebody stops

const $ = id => document.getElementById(id);
const typing = new Map(); // name -> what takes it away in time
let members; // not known before the room is joined
let saidAt = 0;

export function follow(socket, room) {
  room.on("members", names => {
    const before = members ?? names;
    for (const name of names) if (!before.includes(name)) note(`${name} has joined`);
    for (const name of before) if (!names.includes(name)) note(`${name} has left`);
    members = names;
    showPeople(socket.user);
  });
  room.on("message", ({ typing, said }) => {
    if (typing && typing !== socket.user) start(typing); // not of this user's other devices
    if (said) stop(said.who);
  });
  $("text").addEventListener("input", () => {
    if (Date.now() - saidAt < SAID_EVERY_MS) return;
    saidAt = Date.now();
    socket.send({ do: "typing" }, { volatile: true }); // now or never
  });
  $("say").addEventListener("submit", () => (saidAt = 0));
}

function start(name) {
  clearTimeout(typing.get(name));
  typing.set(name, setTimeout(stop, TYPING_MS, name));
  showTyping();
}

function stop(name) {
  clearTimeout(typing.get(name));
  if (typing.delete(name)) showTyping();
}

function showTyping() {
  const names = [...typing.keys()];
  const who = names.length > 2 ? `${names.length} people` : names.join(" and ");
  $("typing").textContent = who && `${who} ${names.length > 1 ? "are" : "is"} typing…`;
}

function showPeople(me) {
  const others = members.filter(name => name !== me);
  $("people").replaceChildren(chip(me, `${me} (you)`), ...others.map(name => chip(name, name)));
  $("alone").hidden = others.length > 0;
}

function chip(name, label) {
  const item = document.createElement("li");
  const face = document.createElement("span");
  const text = document.createElement("span");
  item.className = "chip";
  face.className = "face";
  face.setAttribute("aria-hidden", "true");
  face.textContent = [...name][0].toUpperCase();
  face.style.setProperty("--hue", hue(name));
  text.textContent = label;
  item.append(face, text);
  return item;
}

function hue(name) {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 360;
  return sum;
}
