// One photo to the service: shows progress, waits where it is told to, asks for a key.

import { model } from "./card.js";
import { askForKey, key, keyHeaders, plain } from "./key.js";

const PATIENCE = 20; // times that a busy service is asked again
const TIMES_OUT = 120_000; // milliseconds without an answer

// What went wrong, in the service's own words.
export class Problem extends Error {
  constructor(status, body = {}) {
    super(plain(body.detail ?? unsaid(status)));
    this.status = status;
    this.code = body.code;
    this.request = body.request_id;
  }
}

function unsaid(status) {
  if (status === 0) return "The service cannot be reached. Check the connection and try again.";
  if (status === 413) return "The photo is larger than what stands before the service lets through.";
  return `The service answered ${status} and said nothing more. Try again in a while.`;
}

// Asks for one photo's answer; `tell` hears of {state, share, seconds, detail} on the way.
export async function predict(file, signal, tell) {
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    const used = key();
    tell({ state: "sending", share: 0 });
    const sent = (share) => tell({ state: share < 1 ? "sending" : "thinking", share });
    const reply = (await locked()) ?? (await post(file, signal, sent));
    if (reply.status === 200 && reply.body?.label) return reply.body;
    const problem = new Problem(reply.status, reply.body);
    if (reply.status === 401) {
      tell({ state: "locked" });
      if (key() === used && !(await askForKey(problem.message))) throw problem;
    } else if ((reply.status === 503 || reply.status === 429) && attempt < PATIENCE) {
      await pause(reply.wait, signal, (seconds) => tell({ state: "busy", seconds, detail: problem.message }));
    } else throw problem;
  }
}

// No photo goes on its way to be refused at its end: the card asks for the same key.
async function locked() {
  const { status, ...body } = await model();
  return status === 401 ? { status, body } : null;
}

async function pause(seconds, signal, tell) {
  for (let left = seconds; left > 0 && !signal.aborted; left--) {
    tell(left);
    await new Promise((done) => setTimeout(done, 1000));
  }
}

// fetch() cannot tell how much of a photo has been sent; this can.
function post(file, signal, onShare) {
  return new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open("POST", "predict?evidence=grid");
    for (const [name, value] of Object.entries(keyHeaders())) request.setRequestHeader(name, value);
    request.timeout = TIMES_OUT;
    request.upload.onprogress = (event) => event.total && onShare(event.loaded / event.total);
    request.upload.onload = () => onShare(1);
    request.onload = () => done({ status: request.status, body: parsed(request), wait: wait(request) });
    request.onerror = request.ontimeout = request.onabort = () => done({ status: 0 });
    signal.addEventListener("abort", () => request.abort());
    const form = new FormData();
    form.append("file", file, file.name || "photo");
    request.send(form);
  });
}

function parsed(request) {
  try {
    return JSON.parse(request.responseText);
  } catch {
    return undefined; // not the service, but something in front of it
  }
}

// Seconds, which a server may also give as a date; by its own clock, for this one may be wrong.
function wait(request) {
  const asked = request.getResponseHeader("Retry-After");
  if (!asked) return 2;
  const now = Date.parse(request.getResponseHeader("Date")) || Date.now();
  const seconds = Number.isNaN(Number(asked)) ? (Date.parse(asked) - now) / 1000 : Number(asked);
  return Math.max(1, Math.ceil(seconds || 0));
}
