// One stream: a row that tells how it stands, and below it, when opened, all the rest.

import { Charts } from "./charts.js";
import { Strip } from "./budget.js";
import { Letters, SHOWN } from "./letters.js";
import { Said, idOf } from "./said.js";
import { ask, get, sure } from "./door.js";
import { disable, disabled, h, icon, reicon, say, set, show, prose, svg, Keyed } from "./dom.js";
import { ageOf, nameOf, standingOf } from "./standing.js";
import { ahead, ago, at, clock, count, joined, number, span, took } from "./words.js";

const AGAIN = 1500; // ms after which what can't be right is asked once more
const CYCLES = 30; // that the charts show
let numbers = 0;

/** What each button asks for, and when it makes sense. */
const ACTIONS = [
  {
    id: "resume",
    words: (s) => (s.state === "failing" ? "Try now" : "Resume"),
    fits: (s) => ["parked", "paused", "failing"].includes(s.state),
    main: true,
  },
  {
    id: "approve",
    words: () => "Approve the deletes…",
    fits: (s) => Boolean(s.question),
    main: true,
    sure: (s) => ["Mark these rows as deleted?", s.question, "Approve the deletes"],
  },
  { id: "sync", words: () => "Sync now", fits: (s) => !s.running && !["parked", "paused"].includes(s.state) },
  {
    id: "reconcile",
    words: () => "Look for what is gone",
    fits: (s) => !s.running && !["parked", "paused", "never ran"].includes(s.state),
  },
  { id: "pause", words: () => "Pause", fits: (s) => !["parked", "paused"].includes(s.state) },
];

export class StreamPart {
  constructor(stream, page) {
    this.page = page;
    this.name = nameOf(stream);
    this.opened = null;
    const id = `stream-${(numbers += 1)}`;
    this.mark = icon("quiet");
    this.button = h("button", {
      type: "button", class: "stream-button", "aria-expanded": "false", "aria-controls": id,
      onclick: () => this.toggle(),
    },
    h("span", { class: "stream-source", text: `${stream.source}.` }),
    h("span", { class: "stream-name", text: stream.stream }));
    this.label = h("span", { class: "stream-label" });
    this.detail = h("span", { class: "stream-detail" });
    this.bar = svg("rect", { height: "100%", width: "0" });
    this.progress = svg("svg", { class: "progress", "aria-hidden": "true" }, this.bar);
    this.whole = h("span", { class: "cell whole" });
    this.age = h("span", { class: "cell age" });
    this.dead = h("span", { class: "cell put-aside" });
    this.reason = h("p", { class: "reason" });
    this.todo = h("p", { class: "todo" });
    this.why = h("div", { class: "why" }, this.reason, this.todo);
    this.actions = h("p", { class: "buttons actions" });
    this.buttons = new Keyed(this.actions, (action) => new ActionPart(action, this));
    this.body = h("div", { class: "stream-body", id, hidden: true });
    this.node = h("li", { class: "stream" },
      h("div", { class: "stream-row" },
        h("span", { class: "stream-mark" }, this.mark),
        h("h3", {}, this.button),
        h("p", { class: "stream-state" }, this.label, " ", this.detail, this.progress),
        this.whole, this.age, this.dead, icon("open")),
      this.why, this.actions, this.body);
  }

  /** Everything below the row, made when it is first opened. */
  build() {
    this.facts = h("dl", { class: "facts" });
    this.fact_parts = new Keyed(this.facts, () => new Fact());
    this.charts = new Charts();
    this.strips = h("div");
    this.strip_parts = new Keyed(this.strips, () => new Strip());
    this.letters = new Letters(this.name, {
      now: () => this.page.now(),
      gone: () => this.page.gone(),
      home: () => this.button.focus({ preventScroll: true }),
      end: async (words, ok) => {
        this.page.tell(words, ok);
        await this.loadLetters();
      },
    });
    this.said_list = h("ol", { class: "said" });
    this.said = new Keyed(this.said_list, () => new Said());
    this.said_part = h("section", { class: "part" }, h("h4", { text: "Said of it lately" }), this.said_list);
    this.body.append(this.facts, this.letters.node, this.charts.node, this.strips, this.said_part);
  }

  toggle(open = this.body.hidden) {
    this.opened = open;
    this.open(open);
    this.page.remember(this.name, open);
  }

  open(open) {
    if (open === !this.body.hidden) return;
    if (open && !this.facts) this.build();
    show(this.body, open);
    if (this.stream) this.tick();
    set(this.button, "aria-expanded", String(open));
    this.node.classList.toggle("open", open);
    if (open && this.stream) this.load();
  }

  update(stream, status) {
    this.stream = stream;
    this.status = status;
    this.source = status.sourceOf(stream.source);
    this.budgets = status.budgetsOf(this.source);
    this.tick();
    if (!this.body.hidden) this.load();
  }

  /** What changes by the mere passing of time. */
  tick() {
    const now = this.page.now();
    const { stream } = this;
    const standing = standingOf(stream, this.source, now);
    this.standing = standing;
    set(this.node, "data-tone", standing.tone);
    set(this.node, "data-group", standing.group);
    reicon(this.mark, standing.icon);
    set(this.mark, "class", `icon tone-${standing.icon}`);
    say(this.label, standing.label);
    say(this.detail, standing.detail);
    show(this.progress, standing.share !== null);
    if (standing.share !== null) set(this.bar, "width", `${(standing.share * 100).toFixed(1)}%`);
    const age = ageOf(stream, now);
    say(this.whole, stream.whole ? `whole ${ago((now - at(stream.whole.ended_at)) / 1000)}` : "never whole");
    say(this.age, age === null ? "" : `data ${span(age)} old`);
    say(this.dead, stream.dead_letters ? `${count(stream.dead_letters)} put aside` : "");
    prose(this.reason, this.reasonOf());
    prose(this.todo, stream.todo ?? "");
    show(this.reason, Boolean(this.reason.told));
    show(this.todo, Boolean(stream.todo));
    show(this.why, Boolean(this.reason.told || stream.todo));
    this.buttons.update(ACTIONS.filter((action) => action.fits(stream)), (action) => action.id, stream);
    const offered = ACTIONS.some((action) => action.main && action.fits(stream));
    show(this.actions, offered || !this.body.hidden);
    if (!this.body.hidden) this.details();
  }

  reasonOf() {
    if (this.stream.reason) return this.stream.reason;
    if (this.standing.group === "needs") return this.stream.question ?? this.stream.last?.reason ?? "";
    const failing = this.source?.breaker;
    return failing ? `The API is failing since ${clock(at(failing.open_since))}: ${failing.reason}` : "";
  }

  details() {
    const now = this.page.now();
    const facts = factsOf(this.stream, this.source, now, this.page.outOfDate());
    this.fact_parts.update(facts, (fact) => fact.name);
    this.strip_parts.update(this.budgets, (budget) => budget.budget, now);
    this.letters.tick(now);
    const said = this.status.events.filter((event) => event.stream === this.name).slice(0, 5);
    this.said.update(said, idOf, now, true);
    show(this.said_part, said.length > 0);
  }

  /** Read what the status does not hold, if it can have changed. */
  load() {
    const { stream } = this;
    const cycle = `${stream.last?.cycle} ${stream.last?.ended_at}`;
    if (this.cycles_of !== cycle) {
      this.cycles_of = cycle;
      this.loadCycles();
    }
    const dead = `${stream.dead_letters} ${cycle}`;
    if (this.dead_of !== dead) {
      this.dead_of = dead;
      if (stream.dead_letters || this.letters.ids.length) this.loadLetters();
    }
  }

  async loadCycles() {
    try {
      const { cycles } = await get(`api/cycles?stream=${encodeURIComponent(this.name)}&limit=${CYCLES}`);
      this.charts.update(cycles);
    } catch {
      this.cycles_of = null;
      this.again();
    }
  }

  async loadLetters() {
    try {
      const found = await get(`api/dead?stream=${encodeURIComponent(this.name)}&limit=${SHOWN}`);
      this.letters.update(found, this.page.now());
      // What was asked a moment ago is answered the same, and the status is a second old.
      if (found.total === this.stream.dead_letters) return;
    } catch {
      // As if it had never been asked.
    }
    this.dead_of = null;
    this.again();
  }

  /** Ask once more for what is lacking, as long as somebody looks. */
  again() {
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      if (this.node.isConnected && !this.body.hidden) this.load();
    }, AGAIN);
  }

  async act(action) {
    if (action.sure && !(await sure(...action.sure(this.stream)))) return;
    const words = action.words(this.stream).replace("…", "");
    try {
      const end = await ask(`api/streams/${encodeURIComponent(this.name)}/${action.id}`, {});
      if (!end) return;
      this.page.tell(`${this.name}: ${end.answer || `${words}: ${end.ok ? "done" : "refused"}`}`, end.ok);
    } catch (error) {
      this.page.tell(`${this.name}: ${error.message}`, false);
    }
  }

  /** What the filter looks at. */
  get haystack() {
    const { stream, standing } = this;
    return `${this.name} ${standing.label} ${standing.detail} ${stream.state} ${stream.reason ?? ""}`.toLowerCase();
  }
}

class ActionPart {
  constructor(action, part) {
    this.action = action;
    this.part = part;
    this.node = h("button", { type: "button", class: action.main ? "primary" : null, onclick: () => this.press() });
  }

  update(action, stream) {
    const words = action.words(stream);
    if (!this.busy) say(this.node, words);
    disable(this.node, this.busy || this.part.page.gone());
    set(this.node, "aria-label", `${words}: ${this.part.name}`);
  }

  async press() {
    if (disabled(this.node)) return;
    this.busy = true;
    disable(this.node, true);
    await this.part.act(this.action);
    this.busy = false;
    disable(this.node, this.part.page.gone());
  }
}

class Fact {
  constructor() {
    this.name = h("dt");
    this.value = h("dd");
    this.more = h("dd", { class: "muted small" });
    this.node = h("div", {}, this.name, this.value, this.more);
  }

  update({ name, value, more = "" }) {
    say(this.name, name);
    say(this.value, value);
    say(this.more, more);
    show(this.more, more !== "");
  }
}

/** old: what is known is not of now, so that nothing can be told of what will be. */
function factsOf(stream, source, now, old) {
  const { running, whole, last, usual } = stream;
  const facts = [];
  const secondsTo = (iso) => (at(iso) - now) / 1000;
  if (running && stream.state === "running" && !old) {
    const done = stream.expected?.done_at;
    const left = done ? secondsTo(done) : null;
    facts.push({
      name: "Will be done",
      value: left > 0 ? `in ${ahead(left)}` : stream.whole ? "any moment" : "not known yet",
      more: left > 0
        ? `about ${clock(at(done), now, false)}, by its pace and the budget`
        : stream.whole ? "it takes longer than the last one" : "no whole cycle to go by",
    });
  }
  if (running) {
    facts.push({
      name: "So far",
      value: joined([number(running.seen, "record"), stream.expected?.records ? `of about ${count(stream.expected.records)}` : ""], " "),
      more: joined([
        whatBecame(running),
        `began ${ago(-secondsTo(running.started_at))}`,
        running.taken_up ? `taken up again ${number(running.taken_up, "time")}` : "",
      ], " · "),
    });
  }
  facts.push({
    name: "Last whole",
    value: whole ? ago(-secondsTo(whole.ended_at)) : "never",
    more: whole ? `${clock(at(whole.ended_at), now)}, took ${took((at(whole.ended_at) - at(whole.started_at)) / 1000)}` : "",
  });
  if (whole) {
    facts.push({
      name: "Oldest data",
      value: span(-secondsTo(whole.started_at)),
      more: `nothing is older than ${clock(at(whole.started_at), now)}`,
    });
  }
  if (last) {
    facts.push({
      name: "Last cycle",
      value: joined([number(last.seen, "record"), last.outcome === "ok" ? "" : last.outcome]),
      more: joined([whatBecame(last), usual?.records ? `usual ${count(usual.records.least)}\u2060–\u2060${count(usual.records.most)}` : ""], " · "),
    });
  }
  facts.push({
    name: "Begins",
    value: stream.cron.length > 0 ? stream.cron.join(", ") : `every ${took(stream.every_seconds)}`,
    more: joined([
      stream.zone ?? "",
      stream.next_start && !running ? `next at ${clock(at(stream.next_start), now)}` : "",
    ]),
  });
  if (stream.missing) {
    facts.push({ name: "Not met", value: number(stream.missing, "row"), more: "by the last complete scan; they stay for now" });
  }
  if (stream.drifts) {
    facts.push({
      name: "Contract",
      value: `${number(stream.drifts, "thing")} it does not say`,
      more: `see syncd contract show ${stream.source}.${stream.stream}`,
    });
  }
  if (source) {
    facts.push({
      name: "Run by",
      value: source.running ? `pid ${source.pid}` : "nobody",
      more: source.running ? `on ${source.host} for ${span(-secondsTo(source.since))}` : "",
    });
  }
  return facts;
}

function whatBecame(cycle) {
  const parts = [
    [cycle.written, "written"], [cycle.unchanged, "unchanged"], [cycle.left_out, "left out"],
    [cycle.folded, "twice"], [cycle.dead, "put aside"], [cycle.deleted, "marked deleted"],
  ];
  return joined(parts.filter(([many]) => many).map(([many, what]) => `${count(many)} ${what}`)) || "nothing yet";
}
