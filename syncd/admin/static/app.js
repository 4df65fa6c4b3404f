// The status page: hears how everything stands, and patches what is shown.  Start reading here.

import { follow } from "./feed.js";
import { forget, ask, token, tokenToRead } from "./door.js";
import { disable, disabled, h, icon, place, reicon, say, set, show, prose, Keyed } from "./dom.js";
import { GROUPS, nameOf, standingOf, verdictOf } from "./standing.js";
import { StreamPart } from "./stream.js";
import { Said, idOf } from "./said.js";
import { ago, at, clock, count, number, span } from "./words.js";

const $ = (id) => document.getElementById(id);
const FEW = 3; // streams that are all shown open
const FILTERED_FROM = 6; // streams
const LATELY = 5; // lines shown at first
const TOAST = 12_000; // ms
const OPENED = "syncd-opened";

class Page {
  constructor() {
    this.status = null;
    this.link = { phase: "connecting", since: Date.now(), why: "" };
    this.offset = 0;
    this.parts = new Map();
    this.groups = new Map(GROUPS.map((group) => [group.id, new GroupPart(group)]));
    // All of them stay in the page, the empty ones hidden: a stream that moves from one to
    // another keeps the focus.
    $("streams").append(...[...this.groups.values()].map((group) => group.node));
    this.notices = new Keyed($("notices"), () => new Notice());
    this.said = new Keyed($("lately-list"), () => new Said());
    this.all_said = false;
    this.opened = JSON.parse(sessionStorage.getItem(OPENED) ?? "{}");
    this.mark = icon("quiet");
    $("verdict").before(this.mark);
    $("filter").addEventListener("input", () => this.filter());
    $("close-all").addEventListener("click", () => this.closeAll());
    $("reload").addEventListener("click", () => this.reload());
    $("forget-token").addEventListener("click", () => forget());
    $("lately-more").addEventListener("click", () => this.sayMore());
    show($("forget-token"), token() !== null);
  }

  /** Now, on the daemon's clock. */
  now() {
    return Date.now() + this.offset;
  }

  run() {
    setInterval(() => this.tick(), 1000);
    return follow("api/events", token, {
      live: () => this.linked("live"),
      gone: () => this.linked("leaving"),
      lost: (why, answered) => this.linked(answered ? "broken" : "lost", why),
      denied: async (wrong) => {
        this.linked("denied");
        await tokenToRead(wrong);
      },
      status: (object) => this.hear(object),
    });
  }

  linked(phase, why = "") {
    // A daemon that said good-bye and then closed its connection is gone since the good-bye.
    const still = ["lost", "leaving", "broken"];
    const goes_on = still.includes(phase) && still.includes(this.link.phase);
    this.link = { phase, why, since: goes_on ? this.link.since : Date.now() };
    this.tick();
  }

  hear(object) {
    const start = performance.now();
    this.status = new Status(object);
    this.offset = at(object.at) - Date.now();
    $("skeleton")?.remove();
    this.streams();
    this.tick();
    performance.clearMeasures("syncd-update");
    performance.measure("syncd-update", { start });
  }

  streams() {
    const { streams } = this.status;
    const there = new Map();
    for (const stream of streams) {
      const name = nameOf(stream);
      const part = this.parts.get(name) ?? new StreamPart(stream, this);
      part.update(stream, this.status);
      there.set(name, part);
    }
    for (const [name, part] of this.parts) if (!there.has(name)) part.node.remove();
    this.parts = there;
    for (const part of there.values()) if (part.opened === null) part.open(this.isOpen(part));
    this.group();
    show($("tools"), streams.length >= FILTERED_FROM);
    $("streams").classList.toggle("single", streams.length === 1);
  }

  /** What a person chose; else open where there are few, and there is something to see. */
  isOpen(part) {
    const few = this.parts.size <= FEW && part.stream.state !== "never ran";
    return this.opened[part.name] ?? few;
  }

  group() {
    const parts = [...this.parts.values()];
    for (const [id, group] of this.groups) {
      group.update(parts.filter((part) => part.standing.group === id));
    }
    this.filter();
  }

  filter() {
    const wanted = $("tools").hidden ? [] : $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    let met = 0;
    for (const group of this.groups.values()) {
      let shown = 0;
      for (const part of group.parts) {
        const fits = wanted.every((word) => part.haystack.includes(word));
        show(part.node, fits);
        shown += fits ? 1 : 0;
      }
      group.filtered(wanted.length ? shown : null);
      met += shown;
    }
    say($("filter-count"), wanted.length ? `${count(met)} of ${number(this.parts.size, "stream")}` : "");
    show($("close-all"), [...this.parts.values()].some((part) => !part.body.hidden));
  }

  remember(name, open) {
    this.opened[name] = open;
    sessionStorage.setItem(OPENED, JSON.stringify(this.opened));
    show($("close-all"), [...this.parts.values()].some((part) => !part.body.hidden));
  }

  closeAll() {
    for (const part of this.parts.values()) if (!part.body.hidden) part.toggle(false);
    $("filter").focus();
  }

  /** Once a second, and whenever something was heard: times are told anew. */
  tick() {
    const now = this.now();
    this.tellLink(now);
    if (!this.status) return;
    // What stands below is not of now: its ages go on, its waits are over.
    for (const part of this.parts.values()) part.tick();
    if ([...this.parts.values()].some((part) => this.groups.get(part.standing.group).has(part) === false)) {
      this.group();
    }
    const standings = [...this.parts.values()].map((part) => part.standing);
    this.tellVerdict(verdictOf(this.status.streams, standings, now));
    this.tellLately(now);
    this.tellAbout(now);
  }

  tellVerdict({ tone, words, more, needs }) {
    const stale = this.outOfDate();
    const known = this.status.streams.length > 0;
    const last = known ? `Last known: ${words[0].toLowerCase()}${words.slice(1)}` : "Nothing is known yet";
    const heading = stale ? last : words;
    set(document.body, "data-tone", stale ? "quiet" : tone);
    reicon(this.mark, stale ? "quiet" : tone);
    set(this.mark, "class", `icon tone-${stale ? "quiet" : tone}`);
    say($("verdict-more"), known || stale ? more : "Add a source to the config file, and reload it.");
    if ($("verdict").textContent === heading) return;
    say($("verdict"), heading);
    document.title = `${needs ? `(${needs}) ` : ""}${stale ? "not reachable · " : ""}syncd`;
    if (this.verdict !== undefined) say($("announcer"), heading);
    this.verdict = heading;
  }

  /** Nobody is there who could be asked for anything. */
  gone() {
    return ["lost", "leaving", "broken"].includes(this.link.phase);
  }

  outOfDate() {
    return this.gone() || Boolean(this.status?.stale_since);
  }

  tellLink(now) {
    const { phase, since, why } = this.link;
    const words = {
      connecting: "Connecting…",
      live: this.status?.stale_since ? "Postgres is away" : "Live",
      denied: "Needs the token",
      leaving: "Stopping",
      broken: "Out of order",
      lost: "Not reachable",
    }[phase];
    say($("link-words"), words);
    set($("link"), "data-phase", phase === "live" && this.status?.stale_since ? "stale" : phase);
    document.body.classList.toggle("out-of-date", this.outOfDate());
    const gone = (Date.now() - since) / 1000;
    const shown = this.status ? ` What stands below is from ${clock(at(this.status.at))}.` : "";
    const notices = [];
    if (phase === "leaving" || phase === "lost") {
      // A restart takes a second; nobody has to be told of that.
      if (gone >= 2 || !this.status) {
        notices.push({
          id: "lost",
          tone: "bad",
          words: `The daemon is not reachable since ${clock(since)} (${span(gone)}).`,
          more: `${shown} This page looks for it again by itself. If it stays away: \`systemctl status syncd\`.`,
        });
      }
    } else if (phase === "broken") {
      notices.push({ id: "broken", tone: "bad", words: `The daemon answers, but not as it should: ${why}.`, more: `${shown} This page tries again by itself.` });
    }
    const stale = this.status?.stale_since;
    if (stale && phase === "live") {
      notices.push({
        id: "stale",
        tone: "warn",
        words: `Postgres is away since ${clock(at(stale))} (${span((now - at(stale)) / 1000)}).`,
        more: `${this.status.streams.length ? " What stands below is how it stood then." : ""} Nothing is lost: syncd waits for it, and spends no budget meanwhile. ${this.status.object.stale_reason ?? ""}`,
      });
    }
    const reload = this.status?.daemon?.reload;
    if (reload && reload.ok === false) {
      notices.push({
        id: "reload",
        tone: "bad",
        words: `The config file was refused ${reload.at ? ago((now - at(reload.at)) / 1000) : ""}; the one before goes on.`,
        more: ` A restart would fail with it. Correct it (\`syncd check --offline\`), then reload.`,
        list: reload.faults ?? [],
      });
    }
    this.notices.update(notices, (notice) => notice.id);
  }

  tellLately(now) {
    const { events } = this.status;
    const shown = this.all_said ? events : events.slice(0, LATELY);
    show($("lately"), events.length > 0);
    this.said.update(shown, idOf, now, false);
    show($("lately-more"), events.length > LATELY);
    say($("lately-more"), this.all_said ? "Show fewer" : `Show all ${events.length}`);
  }

  sayMore() {
    this.all_said = !this.all_said;
    this.tellLately(this.now());
  }

  tellAbout(now) {
    const { daemon, version } = this.status;
    document.body.classList.toggle("read-only", daemon?.writable === false);
    show($("about"), true);
    disable($("reload"), this.gone());
    say($("host"), daemon?.host ? `on ${daemon.host}` : "");
    const parts = [`syncd ${version ?? ""}`.trim()];
    if (daemon?.pid) parts.push(`pid ${daemon.pid}, up for ${span((now - at(daemon.since)) / 1000)}`);
    if (daemon?.writable === false) parts.push("to look only, as admin.token is not set");
    if (daemon?.reload?.ok) parts.push(`config reloaded ${ago((now - at(daemon.reload.at)) / 1000)}`);
    say($("about-words"), parts.join(" · "));
  }

  async reload() {
    if (disabled($("reload"))) return;
    try {
      const end = await ask("api/reload", {});
      if (end) this.tell(end.answer || (end.ok ? "The config was reloaded." : "The config was refused."), end.ok);
    } catch (error) {
      this.tell(error.message, false);
    }
  }

  /** Say what came of something that a person asked for. */
  tell(words, ok) {
    const toast = h("p", { class: `toast ${ok ? "good" : "bad"}` }, icon(ok ? "good" : "bad"), h("span", { text: words }));
    $("toasts").append(toast);
    setTimeout(() => toast.remove(), TOAST);
  }
}

/** A status object, with what is looked up in it. */
class Status {
  constructor(object) {
    this.object = object;
    this.at = object.at;
    this.streams = object.streams;
    this.events = object.events ?? [];
    this.daemon = object.daemon;
    this.version = object.version;
    this.stale_since = object.stale_since ?? null;
    this.sources = new Map(object.sources.map((source) => [source.source, source]));
    this.budgets = new Map(object.budgets.map((budget) => [budget.budget, budget]));
  }

  sourceOf(name) {
    return this.sources.get(name);
  }

  /** Each limit of a source. */
  budgetsOf(source) {
    return (source?.budgets ?? []).map((name) => this.budgets.get(name)).filter(Boolean);
  }
}

class GroupPart {
  constructor({ id, title }) {
    this.id = id;
    this.parts = [];
    this.list = h("ul", { class: "group-list", id: `group-${id}` });
    this.many = h("span", { class: "group-many muted" });
    this.button = h("button", {
      type: "button", class: "group-button", "aria-expanded": "true", "aria-controls": `group-${id}`,
      onclick: () => this.toggle(),
    }, h("span", { text: title }), this.many, icon("open"));
    this.node = h("section", { class: `group group-${id}`, "aria-label": title, hidden: true }, h("h2", {}, this.button), this.list);
  }

  has(part) {
    return this.parts.includes(part);
  }

  update(parts) {
    this.parts = parts;
    place(this.list, parts.map((part) => part.node));
    say(this.many, count(parts.length));
  }

  filtered(shown) {
    show(this.node, this.parts.length > 0 && shown !== 0);
    say(this.many, shown === null ? count(this.parts.length) : `${count(shown)} of ${count(this.parts.length)}`);
  }

  toggle() {
    const open = this.list.hidden;
    show(this.list, open);
    set(this.button, "aria-expanded", String(open));
  }
}

class Notice {
  constructor() {
    this.words = h("strong");
    this.more = h("span");
    this.list = h("ul");
    this.icon = icon("bad");
    this.node = h("div", { class: "notice" }, this.icon, h("div", {}, h("p", {}, this.words, this.more), this.list));
  }

  update({ tone, words, more, list = [] }) {
    set(this.node, "class", `notice ${tone}`);
    reicon(this.icon, tone);
    set(this.icon, "class", `icon tone-${tone}`);
    say(this.words, words);
    prose(this.more, more);
    show(this.list, list.length > 0);
    if (this.list.told !== list.join("\n")) {
      this.list.told = list.join("\n");
      this.list.replaceChildren(...list.map((text) => h("li", { text })));
    }
  }
}

new Page().run();
