// The budget as a strip: the last window, with a mark for each request where it was counted.

import { h, say, set, show, svg, Keyed } from "./dom.js";
import { ahead, ago, at, clock, count, joined, number, took } from "./words.js";

const KINDS = [
  { id: "page", one: "list page", many: "list pages", is: / page \d+/ },
  { id: "call", one: "record call", many: "record calls", is: / (call|verify) / },
  { id: "other", one: "other request", many: "other requests", is: /./ },
];

const kindOf = (token) => KINDS.find((kind) => kind.is.test(token.spent_on)) ?? KINDS[2];

/** As configs say it: `60 s`, not `1 min`. */
const windowOf = (per) => (per <= 120 ? `${Math.round(per * 10) / 10} s` : took(per));

export class Strip {
  constructor() {
    this.left = h("p", { class: "strip-left" });
    this.marks = svg("svg", { class: "strip", role: "img", preserveAspectRatio: "none" });
    this.list = new Keyed(this.marks, () => new Mark());
    this.scale = h("p", { class: "strip-scale muted small", "aria-hidden": "true" },
      h("span"), h("span", { text: "now" }));
    this.legend = h("ul", { class: "legend small" });
    this.kinds = new Keyed(this.legend, (kind) => new Kind(kind));
    this.more = h("p", { class: "muted small" });
    this.node = h("section", { class: "part budget" },
      (this.title = h("h4", { text: "Budget" })), this.left, this.marks, this.scale, this.legend,
      this.more);
  }

  update(budget, now) {
    const { requests, per_seconds: per } = budget;
    // Tokens come back between two status objects, too.
    const spent = budget.spent.filter((token) => at(token.free_at) > now);
    const free = budget.free + budget.spent.length - spent.length;
    const next = Math.min(...spent.map((token) => at(token.free_at)));
    const under = budget.paths?.length ? `, under ${budget.paths.join(", ")}` : "";
    say(this.title, `Budget: ${number(requests, "request")} in any ${windowOf(per)}${under}`);
    say(this.left, joined([
      free ? `${count(free)} of ${count(requests)} free` : "Used up",
      free < requests && spent.length ? `the next is free in ${ahead((next - now) / 1000)}` : "",
    ]));
    say(this.scale.firstChild, `${windowOf(per)} ago`);
    this.list.update(spent, (token) => token.token, per, now);
    const by = KINDS.map((kind) => ({
      ...kind,
      times: spent.filter((token) => kindOf(token) === kind).length,
    })).filter((kind) => kind.times);
    this.kinds.update(by, (kind) => kind.id);
    const told = by.map((kind) => number(kind.times, kind.one, kind.many));
    for (const part of [this.marks, this.scale, this.legend]) show(part, spent.length > 0);
    set(this.marks, "aria-label", told.length
      ? `Spent in the last ${windowOf(per)}: ${joined(told)}`
      : `Nothing was spent in the last ${windowOf(per)}`);
    say(this.more, joined([
      budget.held_until && at(budget.held_until) > now
        ? `The API asked to wait: nothing is sent for ${ahead((at(budget.held_until) - now) / 1000)}.`
        : "",
      budget.told && at(budget.told.until) > now
        ? `The API says ${count(budget.told.left)} left until ${clock(at(budget.told.until), now)}.`
        : "",
      budget.counted_from === "answers"
        ? "Each request counts from its answer, since one was refused unexplained."
        : "",
      spent.length && spent.length < requests - free ? `${count(spent.length)} of them are shown.` : "",
    ], " "));
  }
}

/** One spent token. */
class Mark {
  constructor() {
    this.title = svg("title");
    this.node = svg("rect", { y: "0", height: "100%", width: "5", rx: "2" }, this.title);
  }

  update(token, per, now) {
    const counted = at(token.counted_at);
    const share = counted === null ? 1 : 1 - (now - counted) / 1000 / per;
    // The strip ends where a mark would be cut.
    set(this.node, "x", `${(Math.min(1, Math.max(0, share)) * 98.6).toFixed(2)}%`);
    set(this.node, "class", `mark-${kindOf(token).id}${counted === null ? " under-way" : ""}`);
    const when = counted === null ? "under way" : ago((now - counted) / 1000);
    say(this.title, `${token.spent_on || "not told"}, ${when}`);
  }
}

class Kind {
  constructor(kind) {
    this.words = h("span");
    this.node = h("li", {}, h("i", { class: `swatch mark-${kind.id}`, "aria-hidden": "true" }), this.words);
  }

  update(kind) {
    say(this.words, number(kind.times, kind.one, kind.many));
  }
}
