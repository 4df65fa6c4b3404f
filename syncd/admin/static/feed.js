// How do news get here?  By server-sent events, read with `fetch`: `EventSource` can send no
// token, and does not tell why it was refused.

const SILENT = 45_000; // ms without a byte; the daemon sends a comment every 15 s
const WAITS = [500, 1000, 2000, 4000, 8000]; // ms before each next try; the last one repeats

/**
 * Follow the daemon for as long as the page lives.
 *
 * `heard` gets the events: status(object), gone(), live(), lost(why, answered), denied(wrong),
 * which waits until there is a token.
 */
export async function follow(path, token, heard) {
  let failed = 0;
  let wake = () => {};
  const now = () => wake();
  window.addEventListener("online", now);
  window.addEventListener("pageshow", now);
  document.addEventListener("visibilitychange", () => document.hidden || now());
  for (;;) {
    const used = token();
    try {
      await once(path, used, heard, () => (failed = 0));
      heard.lost("it closed the connection", false);
    } catch (error) {
      if (error.denied) {
        await heard.denied(Boolean(used));
        continue;
      }
      heard.lost(error.message, error.answered ?? false);
    }
    await new Promise((go) => {
      wake = go;
      setTimeout(go, WAITS[Math.min(failed++, WAITS.length - 1)]);
    });
    wake = () => {};
  }
}

async function once(path, token, heard, alive) {
  const stop = new AbortController();
  let timer = setTimeout(() => stop.abort(), SILENT);
  const leave = () => stop.abort();
  window.addEventListener("pagehide", leave);
  try {
    const headers = { Accept: "text/event-stream" };
    if (token) headers.Authorization = `Bearer ${token}`;
    const answer = await fetch(path, { headers, cache: "no-store", signal: stop.signal });
    if (answer.status === 401) throw failure("denied", { denied: true });
    if (!answer.ok) throw failure(await why(answer), { answered: true });
    alive();
    heard.live();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new Parser((name, data) => tell(heard, name, data));
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort(), SILENT);
      parser.feed(value);
    }
  } catch (error) {
    if (error.name === "AbortError") throw failure("it has been silent for too long");
    if (error instanceof TypeError) throw failure("it does not answer");
    throw error;
  } finally {
    clearTimeout(timer);
    window.removeEventListener("pagehide", leave);
    stop.abort();
  }
}

function tell(heard, name, data) {
  if (name === "gone") return heard.gone();
  if (name !== "status") return undefined;
  let status;
  try {
    status = JSON.parse(data);
  } catch {
    throw failure("what it sends is no JSON", { answered: true });
  }
  return heard.status(status);
}

/** What an answer says is wrong, in a sentence. */
export async function why(answer) {
  let told = null;
  try {
    told = (await answer.json()).error;
  } catch {
    // Not ours, then: a proxy's page, for instance.
  }
  return typeof told === "string" ? told : `it answers with status ${answer.status}`;
}

function failure(message, more = {}) {
  return Object.assign(new Error(message), more);
}

/** Cuts a stream of text into events, wherever its pieces end. */
class Parser {
  constructor(tell) {
    this.tell = tell;
    this.rest = "";
    this.name = "message";
    this.data = [];
  }

  feed(text) {
    const lines = (this.rest + text).split(/\r\n|\n/);
    this.rest = lines.pop();
    for (const line of lines) this.line(line);
  }

  line(line) {
    if (line === "") {
      if (this.data.length) this.tell(this.name, this.data.join("\n"));
      this.name = "message";
      this.data = [];
    } else if (line.startsWith("event:")) {
      this.name = line.slice(6).trim();
    } else if (line.startsWith("data:")) {
      this.data.push(line.slice(line[5] === " " ? 6 : 5));
    }
  }
}
