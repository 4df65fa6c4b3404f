// Can the tables be trusted?  What a status object means, in words.  Plain functions.

import { ahead, ago, at, count, joined, number, sentence, span } from "./words.js";

/** The groups that streams stand in, what needs a person first. */
export const GROUPS = [
  { id: "needs", title: "Needs a person", tone: "bad" },
  { id: "trouble", title: "Behind; syncd works on it", tone: "warn" },
  { id: "aside", title: "With records put aside", tone: "warn" },
  { id: "filling", title: "Filled for the first time", tone: "busy" },
  { id: "good", title: "In step", tone: "good" },
  { id: "quiet", title: "Paused, or not begun", tone: "quiet" },
];

const LABELS = {
  parked: "Parked",
  suspicious: "Suspicious",
  "deletes held": "Deletes held",
  failing: "Failing",
  late: "Late",
  stopped: "Stopped",
  paused: "Paused",
  "never ran": "Never ran",
  resting: "In step",
};

const WAITS = {
  budget: (left) => `waiting for budget${left === null ? "" : `, ${left} more`}`,
  answer: (left) => `waiting for an answer, ${left} more at most`,
  "api asked to wait": (left) => `the API asked to wait${left === null ? "" : `, ${left} more`}`,
  "api is failing": (left) => (left === null ? "waiting for it" : `next try in ${left}`),
};

export const nameOf = (stream) => `${stream.source}.${stream.stream}`;

/** What one stream's facts come to: its group, tone, label and what stands beside it. */
export function standingOf(stream, source, now) {
  const failing = source?.breaker ?? null;
  const group = groupOf(stream, failing, now);
  return {
    group,
    tone: GROUPS.find((g) => g.id === group).tone,
    label: failing && group === "trouble" ? "API failing" : labelOf(stream),
    detail: detailOf(stream, failing, now),
    share: shareOf(stream),
    icon: iconOf(stream, group),
  };
}

function groupOf(stream, failing, now) {
  if (["parked", "suspicious", "deletes held"].includes(stream.state)) return "needs";
  if (stream.state === "paused" || stream.state === "never ran") return "quiet";
  // A new cycle does not answer what the last one asked.
  if (stream.last?.outcome === "suspicious" || stream.question) return "needs";
  if (["failing", "late", "stopped"].includes(stream.state) || failing) return "trouble";
  if (stream.running && now > nextAfter(stream) + 10_000) return "trouble";
  if (stream.dead_letters > 0) return "aside";
  if (!stream.whole) return "filling";
  return "good";
}

/** When the next cycle should begin while one runs: a calendar's is known already. */
function nextAfter(stream) {
  const planned = stream.cron.length > 0 ? at(stream.next_start) : null;
  return planned ?? at(stream.running.started_at) + stream.every_seconds * 1000;
}

function iconOf(stream, group) {
  if (group === "needs") return "bad";
  if (stream.state === "running") return "busy";
  return GROUPS.find((g) => g.id === group).tone;
}

function labelOf(stream) {
  if (stream.state !== "running") {
    return LABELS[stream.state] ?? sentence(stream.words);
  }
  const page = pageOf(stream);
  const of = stream.expected?.pages;
  return `Page ${count(page)}${of ? ` of ${count(Math.max(page, of))}` : ""}`;
}

const pageOf = (stream) => (stream.running?.pages ?? 0) + 1;

function detailOf(stream, failing, now) {
  const left = (iso) => (at(iso) === null ? null : at(iso) - now);
  const next = left(stream.next_start);
  switch (stream.state) {
    case "running": {
      const wait = stream.waits;
      if (wait) {
        const still = left(wait.until);
        return (WAITS[wait.for] ?? ((l) => `waits, ${l} more`))(
          still === null ? null : ahead(still / 1000),
        );
      }
      const seen = number(stream.running.seen, "record");
      return stream.running.reconcile ? `${seen}, looking for what is gone` : seen;
    }
    case "failing":
      return `at page ${count(pageOf(stream))}, tries again by itself`;
    case "stopped":
      return `at page ${count(pageOf(stream))}`;
    case "paused":
      return joined([
        stream.running ? `at page ${count(pageOf(stream))}` : "",
        stream.paused_at ? ago((now - at(stream.paused_at)) / 1000) : "",
      ]);
    case "never ran":
      return next > 0 ? `first in ${ahead(next / 1000)}` : "no cycle has begun";
    case "parked":
      return "waits for a person";
    default:
      if (failing) return `next try in ${ahead(left(failing.next_probe_at) / 1000)}`;
      if (next === null) return "next now";
      if (next < -10_000) return `due ${ago(-next / 1000)}`;
      return next > 0 ? `next in ${ahead(next / 1000)}` : "next now";
  }
}

/** How much of the running cycle is done, 0 to 1; null if that cannot be told. */
function shareOf(stream) {
  if (!stream.running || !stream.expected?.records) return null;
  return Math.min(1, stream.running.seen / stream.expected.records);
}

/** How old the oldest row may be that should be fresh, in seconds; null before any is whole. */
export const ageOf = (stream, now) =>
  stream.whole ? Math.max(0, (now - at(stream.whole.started_at)) / 1000) : null;

/** The sentence at the top of the page, and the one below it. */
export function verdictOf(streams, standings, now) {
  const by = Object.fromEntries(GROUPS.map(({ id }) => [id, 0]));
  for (const { group } of standings) by[group] += 1;
  const all = streams.length;
  const aside = streams.reduce((sum, stream) => sum + stream.dead_letters, 0);
  const top = headline(streams, by, all, aside);
  const running = streams.filter((stream) => stream.state === "running").length;
  const more = joined([
    by.good && by.good < all ? `${count(by.good)} in step` : "",
    by.trouble && by.needs ? `${count(by.trouble)} behind` : "",
    by.quiet && by.quiet < all && !by.needs ? `${count(by.quiet)} paused or not begun` : "",
    running && !by.needs ? `${number(running, "cycle")} running` : "",
    aside && !top.words.includes("but for") ? `${number(aside, "record")} put aside` : "",
    oldest(streams, now),
  ], " · ");
  const begin = top.words.endsWith("run yet") ? "The first cycles begin in a moment, or when their source is free." : "";
  return { ...top, more: begin || sentence(more), needs: by.needs };
}

function headline(streams, by, all, aside) {
  const whole = by.good + by.aside;
  if (!all) return { tone: "quiet", words: "No stream is configured" };
  if (by.needs) return { tone: "bad", words: `${streamsDo(by.needs, "needs", "need")} a person` };
  if (by.trouble) {
    return { tone: "warn", words: `${streamsDo(by.trouble, "is", "are")} behind; syncd works on it` };
  }
  if (by.quiet === all) {
    const never = streams.every((stream) => stream.state === "never ran");
    if (never) return { tone: "quiet", words: all === 1 ? "The stream has not run yet" : "No stream has run yet" };
    return { tone: "quiet", words: all === 1 ? "The stream is paused" : "Every stream is paused" };
  }
  if (by.filling) {
    const first = whole ? streamsDo(by.filling, "is", "are") : all === 1 ? "The table is" : "Tables are";
    return { tone: "busy", words: `${first} being filled for the first time` };
  }
  const words = all === 1 ? "The stream is in step" : whole === all
    ? `All ${count(all)} streams are in step`
    : `${streamsDo(whole, "is", "are")} in step`;
  return aside
    ? { tone: "warn", words: `${words}, but for ${number(aside, "record")}` }
    : { tone: "good", words };
}

const streamsDo = (many, one, more) => `${number(many, "stream")} ${many === 1 ? one : more}`;

function oldest(streams, now) {
  let found = null;
  for (const stream of streams) {
    const age = ageOf(stream, now);
    if (age !== null && (found === null || age > found.age)) found = { age, stream };
  }
  if (!found) return "";
  const whose = streams.length > 1 ? `, in ${nameOf(found.stream)}` : "";
  return `oldest data ${span(found.age)} old${whose}`;
}
