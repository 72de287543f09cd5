// The model's card, from GET /model: whatever it says is shown, whatever it lacks is left out.

import { askForKey, keyHeaders, plain } from "./key.js";

const dialog = document.getElementById("card");
const percent = (value) => `${(100 * value).toFixed(1)}\u00a0%`;
let card = null;

// The card; or {status, detail} where the service gives none: the page works without it.
export async function model() {
  if (card) return card;
  try {
    const reply = await fetch("model", { headers: keyHeaders() });
    const told = await reply.json();
    if (!reply.ok) return { ...told, status: reply.status };
    card = told;
    return card;
  } catch {
    return { status: 0, detail: "The service tells nothing of its model. Try again in a while." };
  }
}

// <p>, <dl> and so on in one line: node("p", "text") or node("ul", child, child).
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
  let told = await model();
  while (told.status === 401 && (await askForKey(told.detail))) told = await model();
  const body = document.getElementById("card-body");
  body.replaceChildren(...(told.classes ? sections(told) : [node("p", plain(told.detail))]));
  dialog.showModal();
});
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

function sections(card) {
  const parts = [node("dl", ...pairs([["Name", card.name], ["Version", card.version]]))];
  const chips = node("ul", ...card.classes.map((name) => node("li", name)));
  chips.className = "chips";
  parts.push(node("h3", "Tells apart"), chips);
  for (const [name, score] of Object.entries(card.scores ?? {})) {
    if (score?.accuracy !== undefined) parts.push(...measured(name, score));
  }
  parts.push(node("h3", "When it is not sure"), node("p", refusal(card)));
  parts.push(node("h3", "How it looks"), node("dl", ...pairs(looks(card))));
  parts.push(node("h3", "Limits"), node("ul", ...limits(card).map((limit) => node("li", limit))));
  return parts;
}

function measured(name, score) {
  const rows = Object.entries(score.classes ?? {}).map(([label, of]) => node("tr", rowHead(label),
    ...[of.precision, of.recall, of.f1].map((value) => node("td", value === undefined ? "" : percent(value))),
    node("td", String(of.photos ?? ""))));
  const head = node("tr", ...["Class", "Precision", "Recall", "F1", "Photos"].map((text) => colHead(text)));
  const parts = [
    node("h3", `How good it is: ${name} photos`),
    node("dl", ...pairs([
      ["Right", percent(score.accuracy)],
      ["Photos", score.photos],
      ["Calibration error", score.calibration_error !== undefined && percent(score.calibration_error)],
      ["Accepted", score.coverage !== undefined && percent(score.coverage)],
      ["Right, of the accepted", score.accepted_accuracy !== undefined && percent(score.accepted_accuracy)],
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

function refusal({ threshold }) {
  if (!threshold) return "This model gives every answer, however doubtful.";
  return `Below a confidence of ${percent(threshold)} it would rather not say.`;
}

function looks({ preprocessing: how = {}, temperature, engine, precision }) {
  const views = how.views > 1 ? `${how.views}\u00a0×\u00a0${how.views} views` : "one view of the middle";
  const scaled = how.strategy === "native" ? "in its own pixels" : `resized to ${how.shorter_side} on its shorter side`;
  return [
    ["Sees", how.size && `${views}, ${how.size}\u00a0×\u00a0${how.size} pixels`],
    ["Photo", how.strategy && scaled],
    ["Temperature", temperature],
    ["Engine", [engine?.name ?? engine, precision].filter((part) => typeof part === "string").join(", ")],
  ];
}

function limits({ preprocessing: how = {} }) {
  const middle = how.strategy === "native" ? `middle ${how.size}\u00a0×\u00a0${how.size} pixels` : "middle square";
  return [
    how.views === 1 && `It looks at the ${middle} of a photo alone; what flies outside is not seen.`,
    "It always answers with one of its classes, and with one for the whole photo, whatever is on it.",
    "Of anything else, or of nothing at all, it should say that it is not sure, and sometimes will not.",
  ].filter(Boolean);
}
