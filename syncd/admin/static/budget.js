// The budget as a strip: the last window, with a mark for each request where it was counted.

import { h, say, set, svg, Keyed } from "./dom.js";
import { ahead, ago, at, count, joined, number, span } from "./words.js";

const KINDS = [
  { id: "page", one: "list page", many: "list pages", is: / page \d+/ },
  { id: "call", one: "record call", many: "record calls", is: / (call|verify) / },
  { id: "other", one: "other request", many: "other requests", is: /./ },
];

const kindOf = (token) => KINDS.find((kind) => kind.is.test(token.spent_on)) ?? KINDS[2];

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
    this.node.hidden = !budget;
    if (!budget) return;
    const { requests, per_seconds: per, free, spent } = budget;
    say(this.title, `Budget: ${number(requests, "request")} in any ${span(per)}`);
    say(this.left, joined([
      free ? `${count(free)} of ${count(requests)} free` : "used up",
      budget.next_free_at && free < requests
        ? `the next is free in ${ahead((at(budget.next_free_at) - now) / 1000)}`
        : "",
    ]));
    say(this.scale.firstChild, `${span(per)} ago`);
    this.list.update(spent, (token) => token.token, per, now);
    const by = KINDS.map((kind) => ({
      ...kind,
      times: spent.filter((token) => kindOf(token) === kind).length,
    })).filter((kind) => kind.times);
    this.kinds.update(by, (kind) => kind.id);
    const told = by.map((kind) => number(kind.times, kind.one, kind.many));
    set(this.marks, "aria-label", told.length
      ? `Spent in the last ${span(per)}: ${joined(told)}`
      : `Nothing was spent in the last ${span(per)}`);
    say(this.more, joined([
      budget.held_until && at(budget.held_until) > now
        ? `The API asked to wait: nothing is sent for ${ahead((at(budget.held_until) - now) / 1000)}.`
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
