// How do times, counts and names read?  The same words as `syncd.views.words` has.

/** A stretch of time, as exact as a glance needs: `12 s`, `4 min`, `2 h 5 min`, `3 days`. */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86400) {
    const minutes = Math.floor((whole % 3600) / 60);
    return `${Math.floor(whole / 3600)} h${minutes ? ` ${minutes} min` : ""}`;
  }
  const days = Math.floor(whole / 86400);
  return days === 1 ? "1 day" : `${days} days`;
}

export const ago = (seconds) => (seconds < 1 ? "just now" : `${span(seconds)} ago`);

/** How long until then, rounded up: nobody comes back too early. */
export function ahead(seconds) {
  const whole = Math.ceil(Math.max(0, seconds));
  const unit = whole < 60 ? 1 : whole < 86400 ? 60 : 86400;
  return span(Math.ceil(whole / unit) * unit);
}

/** How long something took: `0.4 s`, `12 s`, `3 min 10 s`, `2 h 5 min`. */
export function took(seconds) {
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${whole % 60} s` : ""}`;
  return span(whole);
}

const COUNT = new Intl.NumberFormat("en-GB");
export const count = (value) => COUNT.format(value);

/** `1 page`, `2 pages`. */
export const number = (value, what, many = `${what}s`) =>
  `${count(value)} ${value === 1 ? what : many}`;

const HOUR = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const TIME = new Intl.DateTimeFormat("en-GB", HOUR);
const SHORT = new Intl.DateTimeFormat("en-GB", { ...HOUR, second: undefined });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** The time of day where the reader is, with the day if it is not today. */
export function clock(when, now = Date.now(), seconds = true) {
  const there = new Date(when);
  const time = (seconds ? TIME : SHORT).format(there);
  const today = there.toDateString() === new Date(now).toDateString();
  return today ? time : `${DAY.format(there)}, ${time}`;
}

/** Milliseconds since the epoch of an ISO time; null of null. */
export const at = (iso) => (iso ? Date.parse(iso) : null);

export const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) : "");

/** Two parts of a sentence, or the one that there is. */
export const joined = (parts, by = ", ") => parts.filter(Boolean).join(by);

/** A canonical key, a JSON array, as a person would say it; numbers stay as they were written. */
export function key(text) {
  if (text === null || text === undefined) return "(no key)";
  const plain = /^\["((?:[^"\\])*)"\]$/.exec(text) || /^\[(-?[0-9.eE+]+)\]$/.exec(text);
  return plain ? plain[1] : text;
}
