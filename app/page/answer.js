// The panel beside the photo: label, confidence, all classes, facts, JSON and curl.

import { model, node, pairs } from "./card.js";
import { bounds, showEvidence } from "./evidence.js";
import { key } from "./key.js";

const element = (id) => document.getElementById(id);

export function percent(value) {
  if (value > 0.999) return ">\u00a099.9\u00a0%";
  return value < 0.001 ? "<\u00a00.1\u00a0%" : `${(100 * value).toFixed(1)}\u00a0%`;
}

function confidenceInWords({ accepted, confidence }) {
  if (!accepted) return "not sure";
  if (confidence >= 0.99) return "almost certain";
  return confidence >= 0.95 ? "very sure" : "fairly sure";
}

// One line, for the list of photos and for screen readers.
export function summary(photo) {
  const { state, answer, problem, share, seconds } = photo;
  switch (state) {
    case "done":
      if (!answer.accepted) return `Not sure; closest to ${answer.label}, ${percent(answer.confidence)}`;
      return `${answer.label}, ${confidenceInWords(answer)}, ${percent(answer.confidence)}`;
    case "failed": return problem.message;
    case "sending": return `Sending, ${Math.round(100 * share)}\u00a0%`;
    case "thinking": return "Processing";
    case "busy": return `Trying again in ${seconds}\u00a0s`;
    case "locked": return "Waiting for an API key";
    default: return "Queued";
  }
}

// Shows the state of a photo: waiting, done or failed.
export async function show(photo) {
  const { state, answer, problem } = photo;
  element("result").dataset.state = state === "done" && !answer.accepted ? "unsure" : state;
  element("file").textContent = photo.file.name || "Pasted photo";
  element("progress").hidden = state === "done" || state === "failed";
  if (state === "sending") element("progress").value = photo.share;
  else element("progress").removeAttribute("value");
  element("again").hidden = !(state === "failed" && canRetry(problem.status));
  element("details").hidden = state !== "done";
  element("why").textContent = "";
  if (state === "done") return showAnswer(photo);
  element("label").textContent = state === "failed" ? "Failed" : "One moment";
  element("sure").textContent = state === "busy" ? photo.detail : summary(photo);
  if (state === "busy") element("why").textContent = summary(photo);
  if (state === "failed" && problem.code) element("why").textContent = `Code ${problem.code}, request ${problem.request}`;
  showEvidence(null);
}

// A damaged photo stays damaged. Other errors may be temporary.
const canRetry = (status) => status < 400 || status === 401 || status === 429 || status >= 500;

async function showAnswer(photo) {
  const { answer } = photo;
  const chance = percent(answer.confidence);
  element("label").textContent = answer.accepted ? answer.label : "Not sure";
  element("sure").textContent = answer.accepted ? `${confidenceInWords(answer)}, ${chance}` : `Closest to ${answer.label}, ${chance}`;
  classes(photo);
  facts(photo);
  const json = JSON.stringify(answer, null, 2).replace(/\[[\s\d.,e+-]+\]/g, (list) => list.replace(/\s+/g, " "));
  element("json").textContent = json;
  element("curl").textContent = curl(photo.file.name || "photo.jpg");
  if (answer.accepted) return;
  const { threshold } = await model();
  if (photo.shown?.() && threshold) {
    element("why").textContent = `The confidence is below this model's threshold of ${percent(threshold)}.`;
  }
}

function classes(photo) {
  const { answer } = photo;
  const sorted = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
  const chosen = photo.chosen ?? answer.label;
  const rows = sorted.map(([name, chance]) => {
    const radio = Object.assign(document.createElement("input"), { type: "radio", name: "class", value: name });
    radio.checked = name === chosen;
    radio.addEventListener("change", () => showEvidence(answer, (photo.chosen = name)));
    const bar = node("span", document.createElement("i"));
    bar.className = "bar";
    bar.firstChild.style.width = `${100 * chance}%`;
    return node("label", radio, node("span", name), node("output", percent(chance)), bar);
  });
  const legend = answer.evidence?.values ? "Classes; choose one to see its evidence" : "All classes";
  element("classes").replaceChildren(node("legend", legend), ...rows);
  element("caption").dataset.rest = caption(answer);
  showEvidence(answer, chosen);
}

function caption({ evidence, image }) {
  const { blank } = element("frame").dataset;
  if (blank) return blank;
  if (!evidence?.region) return "";
  const [x0, y0, x1, y1] = bounds(evidence);
  const part = x0 > 0.5 || y0 > 0.5 || x1 < image.width - 0.5 || y1 < image.height - 0.5;
  const count = evidence.views.length;
  const where = count > 1 ? `The model used ${count} overlapping crops, outlined. ` : part ? "The model used only the area inside the dashed line. " : "";
  return `${where}${matchMedia("(pointer: coarse)").matches ? "Touch" : "Point at"} a region to see its value.`;
}

function facts({ file, answer, took }) {
  const { image, timing_ms: timing, model: name } = answer;
  const size = file.size < 1e6 ? `${Math.ceil(file.size / 1e3)}\u00a0kB` : `${(file.size / 1e6).toFixed(1)}\u00a0MB`;
  element("facts").replaceChildren(...pairs([
    ["Photo", `${image.width}\u00a0×\u00a0${image.height}, ${image.format}, ${size}`],
    ["Frames", image.frames > 1 ? `${image.frames}; only the first is used` : null],
    ["Time", `${timing.decode.toFixed(1)}\u00a0ms decoding, ${timing.inference.toFixed(1)}\u00a0ms inference, ${Math.round(took)}\u00a0ms\u00a0total`],
    ["Model", `${name.name} ${name.version}`],
  ]));
}

function curl(name) {
  const file = name.replace(/["\\]/g, "\\$&");
  const quoted = (text) => `'${text.replace(/'/g, `'\\''`)}'`;
  const header = key() ? `--header 'X-API-Key: YOUR_KEY' ` : "";
  return `curl ${header}--form ${quoted(`file=@"${file}"`)} ${quoted(new URL("predict?evidence=grid", document.baseURI).href)}`;
}

async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // the clipboard needs https or localhost
    const field = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    button.focus();
  }
  const before = button.dataset.name ??= button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = before), 1500);
}

for (const what of ["json", "curl"]) {
  const button = element(`copy-${what}`);
  button.addEventListener("click", () => copy(button, element(what).textContent));
}
