// Sends one photo to the service: reports progress, retries if it is busy, asks for a key.

import { model } from "./card.js";
import { askForKey, key, keyHeaders, plain } from "./key.js";

const MAX_ATTEMPTS = 20; // while the service is busy
const TIMEOUT = 120_000; // milliseconds

// An error, with the service's own message if there is one.
export class Problem extends Error {
  constructor(status, body = {}) {
    super(plain(body.detail ?? defaultMessage(status)));
    this.status = status;
    this.code = body.code;
    this.request = body.request_id;
  }
}

function defaultMessage(status) {
  if (status === 0) return "The service cannot be reached. Check the connection and try again.";
  if (status === 413) return "The photo is too large for a proxy in front of the service. Send a smaller one.";
  return `The service answered ${status} without details. Try again later.`;
}

// Returns the prediction for one photo. Calls `report` with {state, share, seconds, detail}.
export async function predict(file, signal, report) {
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    const keyUsed = key();
    report({ state: "sending", share: 0 });
    const sent = (share) => report({ state: share < 1 ? "sending" : "thinking", share });
    const reply = (await rejectedKey()) ?? (await post(file, signal, sent));
    if (reply.status === 200 && reply.body?.label) return reply.body;
    const problem = new Problem(reply.status, reply.body);
    if (reply.status === 401) {
      report({ state: "locked" });
      if (key() === keyUsed && !(await askForKey(problem.message))) throw problem;
    } else if ((reply.status === 503 || reply.status === 429) && attempt < MAX_ATTEMPTS) {
      await pause(reply.wait, signal, (seconds) => report({ state: "busy", seconds, detail: problem.message }));
    } else throw problem;
  }
}

// The model card needs the same key: requesting it first saves a useless upload.
async function rejectedKey() {
  const { status, ...body } = await model();
  return status === 401 ? { status, body } : null;
}

async function pause(seconds, signal, report) {
  for (let left = seconds; left > 0 && !signal.aborted; left--) {
    report(left);
    await new Promise((done) => setTimeout(done, 1000));
  }
}

// fetch() does not report upload progress; XMLHttpRequest does.
function post(file, signal, onShare) {
  return new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open("POST", "predict?evidence=grid");
    for (const [name, value] of Object.entries(keyHeaders())) request.setRequestHeader(name, value);
    request.timeout = TIMEOUT;
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
    return undefined; // from a proxy, not from the service
  }
}

// Retry-After in seconds. If it is a date, compare it with the server's clock, not with this one.
function wait(request) {
  const asked = request.getResponseHeader("Retry-After");
  if (!asked) return 2;
  const now = Date.parse(request.getResponseHeader("Date")) || Date.now();
  const seconds = Number.isNaN(Number(asked)) ? (Date.parse(asked) - now) / 1000 : Number(asked);
  return Math.max(1, Math.ceil(seconds || 0));
}
