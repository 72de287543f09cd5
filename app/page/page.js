// The page: photos are chosen, taken, dropped or pasted; each is sent, listed and shown.

import { percent, show, summary } from "./answer.js";
import { model, node } from "./card.js";
import { listen } from "./evidence.js";
import { draw } from "./photo.js";
import { predict, Problem } from "./send.js";

const MAX_PARALLEL = 2;
const MAX_SIDE = 2048; // pixels per side of the displayed photo
const element = (id) => document.getElementById(id);
const list = element("photos").firstElementChild;
const photos = [];
let current = null;
let thumbnails = Promise.resolve(); // one at a time: large photos take much memory

const say = (text) => (element("say").textContent = text);
const isFinished = ({ state }) => state === "done" || state === "failed";

function add(files) {
  const added = [...files].map((file) => ({ file, state: "queued", stop: new AbortController() }));
  if (!added.length) return;
  for (const photo of added) {
    photo.shown = () => photo === current;
    photo.item = addToList(photo);
  }
  photos.push(...added);
  document.body.classList.add("busy-with-photos");
  element("result").hidden = false;
  element("photos").hidden = photos.length < 2;
  choose(added[0]);
  for (const photo of added) update(photo);
  next();
}

function clear() {
  for (const photo of photos.splice(0)) photo.stop.abort();
  current = null;
  list.replaceChildren();
  element("photo").replaceChildren();
  element("result").hidden = element("photos").hidden = true;
  document.body.classList.remove("busy-with-photos");
  say("All photos removed.");
  element("choose").focus();
}

function next() {
  const sent = photos.filter((photo) => photo.state !== "queued" && !isFinished(photo)).length;
  const waiting = photos.filter(({ state }) => state === "queued").slice(0, MAX_PARALLEL - sent);
  waiting.forEach(sendPhoto);
}

async function sendPhoto(photo) {
  const { file, stop } = photo;
  const started = performance.now();
  update(photo, { state: "sending", share: 0 });
  try {
    const answer = await predict(file, stop.signal, (changes) => update(photo, changes));
    update(photo, { state: "done", answer, took: performance.now() - started });
    if (answer.image.orientation > 1) thumbnail(photo);
    if (photo.shown()) picture(photo);
  } catch (problem) {
    if (stop.signal.aborted) return;
    update(photo, { state: "failed", problem: problem instanceof Problem ? problem : new Problem(0) });
  }
  announce(photo);
  next();
}

function update(photo, changes = {}) {
  const { state, answer } = Object.assign(photo, changes);
  const brief = state === "done" ? (answer.accepted ? `${answer.label} ${percent(answer.confidence)}` : "Not sure") : summary(photo);
  photo.item.querySelector("small").textContent = brief;
  photo.item.dataset.state = state === "done" && !answer.accepted ? "unsure" : state;
  photo.item.style.setProperty("--share", state === "sending" ? photo.share : 1);
  if (photo.shown()) show(photo);
  if (state === "busy" && !photo.waited) announce(photo, (photo.waited = true));
}

// Tells screen readers the state of the current photo, and how many photos are done.
function announce(photo, always = false) {
  const done = photos.filter(isFinished).length;
  if (!current || !(always || photo === current || done === photos.length)) return;
  const announced = always ? photo : current;
  const count = photos.length > 1 ? ` ${done} of ${photos.length} photos are done.` : "";
  say(`${announced.file.name}: ${summary(announced).replace(/\.$/, "")}.${count}`);
}

function addToList(photo) {
  const button = node("button", document.createElement("canvas"), node("span", node("b", photo.file.name), node("small")));
  button.type = "button";
  button.addEventListener("click", () => choose(photo));
  const item = node("li", button);
  list.append(item);
  thumbnail({ ...photo, item });
  return item;
}

function thumbnail({ file, answer, stop, item }) {
  thumbnails = thumbnails.then(async () => {
    if (stop.signal.aborted) return;
    const small = await draw({ file, answer }, 128).catch(() => null);
    const before = item.querySelector("canvas");
    if (small) before?.replaceWith(small);
    else before?.remove();
  });
}

function choose(photo) {
  current?.item.firstChild.removeAttribute("aria-current");
  current = photo;
  photo.item.firstChild.setAttribute("aria-current", "true");
  photo.item.scrollIntoView({ block: "nearest", inline: "nearest" });
  element("photo").replaceChildren();
  element("photo").ariaLabel = photo.file.name;
  delete element("frame").dataset.blank;
  element("caption").textContent = element("caption").dataset.rest = "";
  fit(photo);
  show(photo);
  picture(photo);
  if (isFinished(photo)) announce(photo);
}

async function picture(photo) {
  const { answer } = photo;
  const drawn = await draw(photo, MAX_SIDE).catch(() => null);
  if (!photo.shown() || photo.answer !== answer) return; // outdated: it is drawn again with the new answer
  if (drawn) element("photo").replaceChildren(drawn);
  fit(photo);
  if (!drawn) blank(photo, "This browser cannot show the file, but the service can read it.");
}

// Gives the frame the aspect ratio of the upright photo: first the browser's, then the service's.
function fit(photo) {
  const drawn = element("photo").firstChild ?? { width: 4, height: 3 };
  const { width, height } = photo.answer?.image ?? drawn;
  element("frame").style.setProperty("--ratio", width / height);
  // If the browser does not turn the photo upright, the map would not match it: show only the map.
  const isTurned = photo.answer && element("photo").firstChild && (drawn.width > drawn.height) !== (width > height);
  if (isTurned && width !== height) blank(photo, "This browser cannot show the photo upright, so only the evidence map is shown.");
}

function blank(photo, reason) {
  element("frame").dataset.blank = reason;
  show(photo);
}

element("again").addEventListener("click", () => {
  update(current, { state: "queued" });
  element("label").focus();
  next();
});
element("clear").addEventListener("click", clear);

for (const id of ["choose", "take"]) {
  element(id).addEventListener("change", (event) => {
    add(event.target.files);
    event.target.value = ""; // the same photo may be chosen again
  });
}
document.addEventListener("paste", (event) => add(event.clipboardData.files));
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return; // for example text
    event.preventDefault();
    const over = kind === "dragover" || kind === "dragenter" || (kind === "dragleave" && event.relatedTarget);
    document.body.classList.toggle("dragged-over", Boolean(over));
    if (kind === "drop") add(event.dataTransfer.files);
  });
}

listen(say);
const { classes } = await model();
if (classes?.length > 1 && classes.length < 7) {
  const last = classes.at(-1);
  element("lede").textContent = `${classes.slice(0, -1).join(", ")} or ${last}? Add a photo to see the prediction, its confidence, and which regions decided.`;
}
