// Reading and asking through the side door.  Who asks for something shows the token.

import { say } from "./dom.js";
import { why } from "./feed.js";

const KEPT = "syncd-token";
const SOON = 400; // ms between two looks at the answer
const PATIENT = 60_000; // ms to wait for it
const ABREAST = 3; // questions at once: the streams have the rest of Postgres

const $ = (id) => document.getElementById(id);

let reading = 0;
const waiting = [];

export const token = () => sessionStorage.getItem(KEPT);

export function forget() {
  sessionStorage.removeItem(KEPT);
  $("forget-token").hidden = true;
}

const read = (path, bearer) =>
  reach(path, {
    headers: { Accept: "application/json", ...(bearer && { Authorization: `Bearer ${bearer}` }) },
    cache: "no-store",
  });

/** Read, a few at a time; the token is sent along if there is one. */
export async function get(path) {
  while (reading >= ABREAST) await new Promise((go) => waiting.push(go));
  reading += 1;
  try {
    const answer = await read(path, token());
    if (!answer.ok) throw new Error(await why(answer));
    return await answer.json();
  } finally {
    reading -= 1;
    waiting.shift()?.();
  }
}

/** Read a whole record, for which the token may be needed; null if a person thought better of it. */
export async function getRecord(path) {
  let answer = await read(path, token());
  if (answer.status === 401) answer = await allowed((bearer) => read(path, bearer));
  if (!answer) return null;
  if (!answer.ok) throw new Error(await why(answer));
  return answer.json();
}

/**
 * Ask for something and wait for what comes of it: `{ok, answer}`, or null if a person thought
 * better of it.
 */
export async function ask(path, body) {
  const answer = await allowed((bearer) =>
    reach(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${bearer}` },
      body: JSON.stringify(body),
    }),
  );
  if (!answer) return null;
  if (answer.status === 429) {
    const wait = answer.headers.get("Retry-After");
    return { ok: false, answer: `${await why(answer)}${wait ? `; try again in ${wait} s` : ""}` };
  }
  if (!answer.ok) return { ok: false, status: answer.status, answer: await why(answer) };
  const { requests = [] } = await answer.json();
  const ends = await Promise.all(requests.map(ended));
  return {
    ok: ends.every((end) => end.ok),
    answer: ends.map((end) => end.answer).filter(Boolean).join("; "),
  };
}

async function ended(id) {
  const until = Date.now() + PATIENT;
  while (Date.now() < until) {
    const request = await get(`api/requests/${id}`);
    if (request.done) return request;
    await new Promise((go) => setTimeout(go, SOON));
  }
  return { ok: true, answer: "it is at work on that still" };
}

async function reach(path, how) {
  try {
    return await fetch(path, { ...how, redirect: "error" });
  } catch {
    throw new Error("the daemon does not answer");
  }
}

/** Send with a token, and ask for another one for as long as it is refused. */
async function allowed(send) {
  let bearer = token() ?? (await askForToken(""));
  while (bearer) {
    const answer = await send(bearer);
    if (answer.status !== 401) {
      if (answer.ok) keep(bearer);
      return answer;
    }
    forget();
    bearer = await askForToken(`That token was not accepted: ${await why(answer)}`);
  }
  return null;
}

function keep(bearer) {
  sessionStorage.setItem(KEPT, bearer);
  $("forget-token").hidden = false;
}

/** The token that reading needs, too, where anybody on the network could look. */
export async function tokenToRead(wrong) {
  forget();
  const bearer = await askForToken(
    wrong ? "That token was not accepted." : "",
    "This page is open to the network, so looking needs the token, too.",
  );
  if (bearer) keep(bearer);
}

let asking = null;

function askForToken(
  fault,
  about = "Whoever asks syncd to do something, or for a whole record, shows its token.",
) {
  asking ??= dialog("token", () => {
    say($("token-why"), about);
    say($("token-fault"), fault);
    $("token").value = "";
    $("token").setAttribute("aria-invalid", fault ? "true" : "false");
  }).then((yes) => {
    asking = null;
    const typed = $("token").value.trim();
    $("token").value = "";
    return yes && typed ? typed : null;
  });
  return asking;
}

/** Ask whether something is meant that cannot be taken back so easily. */
export function sure(title, about, yes) {
  return dialog("sure", () => {
    say($("sure-title"), title);
    say($("sure-why"), about);
    say($("sure-yes"), yes);
  });
}

/** Show a dialog; whether it was confirmed. */
function dialog(name, prepare) {
  const shown = $(`${name}-dialog`);
  const before = document.activeElement;
  prepare();
  return new Promise((settle) => {
    const end = new AbortController();
    const done = (yes) => {
      end.abort();
      shown.close();
      before?.focus?.({ preventScroll: true });
      settle(yes);
    };
    const on = (node, event, act) => node.addEventListener(event, act, { signal: end.signal });
    on($(`${name}-form`), "submit", (event) => {
      event.preventDefault();
      done(true);
    });
    on($(`${name}-cancel`), "click", () => done(false));
    on(shown, "cancel", (event) => {
      event.preventDefault();
      done(false);
    });
    shown.showModal();
  });
}
