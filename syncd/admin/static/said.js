// Warnings and errors of late, each with what to do about it.

import { h, say, set, show, prose } from "./dom.js";
import { ago, at, joined } from "./words.js";

const LEVELS = { INFO: "good", WARNING: "warn", ERROR: "bad", CRITICAL: "bad" };

export class Said {
  constructor() {
    this.stream = h("span", { class: "said-stream" });
    this.words = h("span", { class: "said-words" });
    this.when = h("span", { class: "muted small said-when" });
    this.fields = h("p", { class: "said-fields small" });
    this.todo = h("p", { class: "said-todo small" });
    this.node = h("li", {},
      h("p", { class: "said-head" }, this.words, this.stream, this.when), this.fields, this.todo);
  }

  update(event, now, alone) {
    set(this.node, "class", LEVELS[event.level] ?? "quiet");
    say(this.words, event.sentence);
    say(this.stream, event.stream && !alone ? event.stream : "");
    say(this.when, ago((now - at(event.at)) / 1000));
    say(this.fields, fieldsOf(event.fields ?? {}));
    show(this.fields, this.fields.textContent !== "");
    prose(this.todo, event.todo ?? "");
    show(this.todo, Boolean(event.todo) && event.todo !== "Nothing.");
  }
}

export const idOf = (event) => `${event.at} ${event.stream} ${event.event} ${event.sentence}`;

/** The reason first and by itself: it is a sentence. */
function fieldsOf({ reason, fault, hint, ...others }) {
  const rest = Object.entries(others)
    .filter(([name, value]) => value !== null && value !== "" && !["source", "stream"].includes(name))
    .map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`);
  return joined([reason, fault, hint, joined(rest)], " · ");
}
