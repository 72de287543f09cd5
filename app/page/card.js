// The model card, from GET /model. Missing entries are left out.

import { askForKey, keyHeaders, plain } from "./key.js";

const dialog = document.getElementById("card");
const percent = (value) => `${(100 * value).toFixed(1)}\u00a0%`;
let card = null;

// Returns the card, or {status, detail} if the service sends none. The page works without it.
export async function model() {
  if (card) return card;
  try {
    const reply = await fetch("model", { headers: keyHeaders() });
    const body = await reply.json();
    if (!reply.ok) return { ...body, status: reply.status };
    return (card = body);
  } catch {
    return { status: 0, detail: "The model card could not be loaded. Try again later." };
  }
}

// Creates an element with children: node("p", "text") or node("ul", child, child).
export function node(tag, ...children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

export function pairs(entries) {
  return entries
    .filter(([, value]) => value !== undefined && value !== null && value !== "")
    .map(([name, value]) => node("div", node("dt", name), node("dd", String(value))));
}

document.getElementById("open-card").addEventListener("click", async () => {
  let found = await model();
  while (found.status === 401 && (await askForKey(found.detail))) found = await model();
  const body = document.getElementById("card-body");
  body.replaceChildren(...(found.classes ? sections(found) : [node("p", plain(found.detail))]));
  dialog.showModal();
});
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

function sections(card) {
  const parts = [node("dl", ...pairs([["Name", card.name], ["Version", card.version]]))];
  const chips = node("ul", ...card.classes.map((name) => node("li", name)));
  chips.className = "chips";
  parts.push(node("h3", "Classes"), chips);
  for (const [name, score] of Object.entries(card.scores ?? {})) {
    if (score?.accuracy !== undefined) parts.push(...measured(name, score));
  }
  parts.push(node("h3", "Confidence threshold"), node("p", threshold(card)));
  parts.push(node("h3", "Inference"), node("dl", ...pairs(inference(card))));
  parts.push(node("h3", "Limits"), node("ul", ...limits(card).map((limit) => node("li", limit))));
  return parts;
}

function measured(name, score) {
  const rows = Object.entries(score.classes ?? {}).map(([label, of]) => node("tr", rowHead(label),
    ...[of.precision, of.recall, of.f1].map((value) => node("td", value === undefined ? "" : percent(value))),
    node("td", String(of.photos ?? ""))));
  const head = node("tr", ...["Class", "Precision", "Recall", "F1", "Photos"].map((text) => colHead(text)));
  const parts = [
    node("h3", `Results on ${name} photos`),
    node("dl", ...pairs([
      ["Accuracy", percent(score.accuracy)],
      ["Photos", score.photos],
      ["Calibration error", score.calibration_error !== undefined && percent(score.calibration_error)],
      ["Accepted", score.coverage !== undefined && percent(score.coverage)],
      ["Accuracy when accepted", score.accepted_accuracy !== undefined && percent(score.accepted_accuracy)],
    ].filter(([, value]) => value))),
  ];
  if (!rows.length) return parts;
  const scroll = node("div", node("table", node("thead", head), node("tbody", ...rows)));
  scroll.className = "scroll";
  scroll.tabIndex = 0;
  scroll.role = "region";
  scroll.ariaLabel = `Scores by class, ${name} photos`;
  return [...parts, scroll];
}

const colHead = (text) => Object.assign(node("th", text), { scope: "col" });
const rowHead = (text) => Object.assign(node("th", text), { scope: "row" });

function threshold({ threshold: least }) {
  if (!least) return "This model has no threshold: it accepts every prediction.";
  return `If the confidence is below ${percent(least)}, the prediction is not accepted.`;
}

function inference({ preprocessing: how = {}, temperature, engine, precision }) {
  const views = how.views > 1 ? `${how.views}\u00a0×\u00a0${how.views} crops` : "one crop of the middle";
  const scaled = how.strategy === "native" ? "original size" : `shorter side resized to ${how.shorter_side}`;
  return [
    ["Input", how.size && `${views}, ${how.size}\u00a0×\u00a0${how.size} pixels`],
    ["Photo", how.strategy && scaled],
    ["Temperature", temperature],
    ["Engine", [engine?.name ?? engine, precision].filter((part) => typeof part === "string").join(", ")],
  ];
}

function limits({ preprocessing: how = {} }) {
  const middle = how.strategy === "native" ? `middle ${how.size}\u00a0×\u00a0${how.size} pixels` : "middle square";
  return [
    how.views === 1 && `It uses only the ${middle} of a photo and does not see anything outside it.`,
    "It always predicts one of its classes, one per photo, whatever the photo shows.",
    "For a photo of something else, or of an empty sky, it should be unsure, but sometimes is not.",
  ].filter(Boolean);
}
