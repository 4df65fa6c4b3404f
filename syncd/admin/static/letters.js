// The records of one stream that were put aside, why, and what can be done.

import { ask, getRecord, sure } from "./door.js";
import { disable, disabled, h, say, set, show, prose, Keyed } from "./dom.js";
import { ago, at, count, joined, key, number } from "./words.js";

const KINDS = {
  contract: "does not fit the columns",
  refused: "refused by Postgres",
  "call-failed": "its call failed for good",
  "outcome-unknown": "its call may have been carried out",
};

const TRYING = "being tried…";

export const SHOWN = 50; // letters of one stream

export class Letters {
  constructor(name, told) {
    this.name = name;
    this.told = told;
    this.title = h("h4", { tabindex: "-1" });
    this.all = h("button", { type: "button", onclick: () => disabled(this.all) || this.retry(this.ids) });
    this.list = h("ol", { class: "letters" });
    this.parts = new Keyed(this.list, () => new LetterPart(this));
    this.more = h("p", { class: "muted small" });
    this.node = h("section", { class: "part dead", hidden: true },
      h("div", { class: "part-head" }, this.title, this.all), this.list, this.more);
    this.ids = [];
    this.busy = new Map();
  }

  update(found, now) {
    this.found = found;
    const { letters, total } = found;
    const had = this.list.contains(document.activeElement);
    this.ids = letters.map((letter) => letter.id);
    show(this.node, letters.length > 0);
    say(this.title, `${number(total, "record")} put aside`);
    show(this.all, letters.length > 1);
    say(this.all, total > letters.length ? `Retry these ${count(letters.length)}` : `Retry all ${count(total)}`);
    this.parts.update(letters, (letter) => letter.id, now);
    show(this.more, total > letters.length);
    say(this.more, `The newest ${count(letters.length)} of ${count(total)}.`);
    // The letter whose button was pressed has left: go on where the reader was.
    if (had && !this.list.contains(document.activeElement)) {
      if (letters.length) this.title.focus({ preventScroll: true });
      else this.told.home();
    }
  }

  tick(now) {
    disable(this.all, this.told.gone());
    if (this.found) this.parts.update(this.found.letters, (letter) => letter.id, now);
  }

  async retry(ids) {
    const what = ids.length === 1 ? `record ${this.keyOf(ids[0])}` : number(ids.length, "record");
    this.mark(ids, TRYING);
    try {
      let end = await ask("api/dead/retry", { ids, repeat: false });
      // Calls that may have been carried out, of an API that would do them again.
      if (end?.status === 400) end = await this.repeat(ids, end);
      this.mark(ids, end && !end.ok ? end.answer : "");
      if (end) {
        await this.told.end(`Retry of ${what}: ${end.answer || (end.ok ? "done" : "it failed")}`, end.ok);
      }
    } catch (error) {
      this.mark(ids, error.message);
      this.told.end(`Retry of ${what}: ${error.message}`, false);
    }
  }

  async repeat(ids, refused) {
    const sentence = `Nobody knows whether the API carried ${ids.length === 1 ? "it" : "each of them"} out, and it may do it twice. (${refused.answer})`;
    const title = ids.length === 1 ? "Make this call again?" : "Make these calls again?";
    const meant = await sure(title, sentence, "Make it again");
    return meant ? ask("api/dead/retry", { ids, repeat: true }) : null;
  }

  async discard(letter) {
    const meant = await sure(
      `Discard record ${key(letter.key)}?`,
      "It will not be written. If the API still lists it as it was, the next cycle puts it aside again.",
      "Discard it",
    );
    if (!meant) return;
    try {
      const end = await ask("api/dead/discard", { ids: [letter.id] });
      if (end) await this.told.end(`Record ${key(letter.key)}: ${end.answer || "discarded"}`, end.ok);
    } catch (error) {
      this.told.end(error.message, false);
    }
  }

  mark(ids, words) {
    for (const id of ids) this.busy.set(id, words);
    this.tick(this.told.now());
  }

  keyOf(id) {
    const letter = this.found?.letters.find((one) => one.id === id);
    return letter ? key(letter.key) : String(id);
  }
}

class LetterPart {
  constructor(letters) {
    this.letters = letters;
    this.key = h("span", { class: "letter-key" });
    this.kind = h("span", { class: "letter-kind" });
    this.when = h("span", { class: "muted small" });
    this.reason = h("p", { class: "letter-reason" });
    this.todo = h("p", { class: "muted small" });
    this.state = h("p", { class: "letter-state small" });
    this.again = h("button", { type: "button", class: "asks", onclick: () => this.retry() });
    this.look = h("button", { type: "button", class: "plain asks", "aria-expanded": "false", onclick: () => this.payload() });
    this.drop = h("button", { type: "button", class: "plain asks", onclick: () => disabled(this.drop) || letters.discard(this.letter) });
    this.record = h("pre", { class: "payload", tabindex: "0", hidden: true });
    this.node = h("li", {},
      h("div", { class: "letter-head" }, this.key, this.kind, this.when),
      this.reason, this.todo, this.state,
      h("p", { class: "buttons" }, this.again, this.look, this.drop),
      this.record);
  }

  update(letter, now) {
    this.letter = letter;
    const name = key(letter.key);
    const busy = this.letters.busy.get(letter.id) ?? "";
    say(this.key, name);
    say(this.kind, KINDS[letter.kind] ?? letter.kind);
    say(this.when, joined([
      ago((now - at(letter.last_at)) / 1000),
      letter.attempts > 1 ? `${count(letter.attempts)} times` : "",
      letter.next_try_at && at(letter.next_try_at) > now ? "tried again by itself" : "",
    ]));
    prose(this.reason, letter.reason);
    prose(this.todo, letter.todo ?? "");
    say(this.state, busy);
    show(this.state, busy !== "");
    this.button(this.again, "Retry", name);
    this.button(this.look, this.record.hidden ? "Show the record" : "Hide the record", name);
    this.button(this.drop, "Discard", name);
    const gone = this.letters.told.gone();
    disable(this.again, busy === TRYING || gone);
    disable(this.look, gone && !this.record.textContent);
    disable(this.drop, gone);
  }

  button(node, words, name) {
    say(node, words);
    set(node, "aria-label", `${words}: ${name}`);
  }

  async retry() {
    if (disabled(this.again)) return;
    await this.letters.retry([this.letter.id]);
  }

  async payload() {
    if (disabled(this.look)) return;
    const open = this.record.hidden;
    if (open && !this.record.textContent) {
      try {
        const letter = await getRecord(`api/dead/${this.letter.id}`);
        if (!letter) return;
        say(this.record, letter.payload || "(empty)");
      } catch (error) {
        say(this.record, error.message);
      }
    }
    show(this.record, open);
    set(this.look, "aria-expanded", String(open));
    this.button(this.look, open ? "Hide the record" : "Show the record", key(this.letter.key));
  }
}
