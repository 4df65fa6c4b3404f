// What did the last cycles do?  Two small charts (uPlot), and the same as a table.

import { h, say, set, show, Keyed } from "./dom.js";
import { at, clock, count, joined, number, took } from "./words.js";

const HEIGHT = 112;
const ENDS = { ok: "", suspicious: "suspicious", abandoned: "given up" };
const dark = window.matchMedia("(prefers-color-scheme: dark)");

const duration = (cycle) =>
  cycle.ended_at ? (at(cycle.ended_at) - at(cycle.started_at)) / 1000 : null;

export class Charts {
  constructor() {
    this.records = new Chart("Records in each cycle", [
      { label: "written", colour: "--chart-written", of: (c) => c.written },
      { label: "unchanged", colour: "--chart-unchanged", of: (c) => c.unchanged + c.left_out + c.folded },
      { label: "put aside", colour: "--chart-dead", of: (c) => c.dead },
    ], count);
    this.durations = new Chart("How long each took", [
      { label: "", colour: "--chart-time", of: (c) => duration(c) ?? 0 },
    ], took, [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400]);
    this.rows = h("tbody");
    this.table = new Keyed(this.rows, () => new Row());
    const heads = ["Began", "Took", "Ended", "Seen", "Written", "Unchanged", "Put aside", "Requests"];
    this.as_table = h("details", { class: "as-table" },
      h("summary", { text: "The last cycles as a table" }),
      h("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": "The last cycles" },
        h("table", {},
          h("thead", {}, h("tr", {}, ...heads.map((text) => h("th", { scope: "col", text })))),
          this.rows)));
    this.both = h("div", { class: "charts" }, this.records.node, this.durations.node);
    this.node = h("section", { class: "part cycles", hidden: true },
      h("h4", { text: "The last cycles" }), this.both, this.as_table);
    dark.addEventListener("change", () => this.draw());
    this.cycles = [];
  }

  /** Takes cycles newest first, as the API has them. */
  update(cycles) {
    this.cycles = cycles.filter((cycle) => cycle.ended_at && cycle.whole).reverse();
    show(this.node, this.cycles.length > 0);
    this.table.update([...this.cycles].reverse(), (cycle) => cycle.cycle);
    this.draw();
  }

  draw() {
    if (!this.cycles.length) return;
    this.records.draw(this.cycles);
    this.durations.draw(this.cycles);
  }
}

class Row {
  constructor() {
    this.cells = Array.from({ length: 8 }, () => h("td"));
    this.node = h("tr", {}, ...this.cells);
  }

  update(cycle) {
    const values = [
      clock(at(cycle.started_at)), took(duration(cycle)), cycle.outcome, count(cycle.seen),
      count(cycle.written), count(cycle.unchanged + cycle.left_out + cycle.folded),
      count(cycle.dead), count(cycle.requests),
    ];
    this.cells.forEach((cell, i) => say(cell, values[i]));
    set(this.node, "class", cycle.outcome === "ok" ? null : "odd");
  }
}

/** Bars, stacked on each other, one for each cycle. */
class Chart {
  constructor(title, series, words, steps) {
    this.steps = steps;
    this.series = series;
    this.words = words;
    this.readout = h("p", { class: "readout small", "aria-hidden": "true" });
    this.canvas = h("div", { class: "canvas", role: "img" });
    this.title = title;
    const legend = series.length > 1
      ? h("ul", { class: "legend small" }, ...series.map((s) =>
          h("li", {}, h("i", { class: `swatch ${s.colour.slice(2)}`, "aria-hidden": "true" }),
            h("span", { text: s.label }))))
      : null;
    this.node = h("figure", { class: "chart" },
      h("figcaption", { class: "small" }, h("span", { text: title }), legend), this.canvas, this.readout);
    new ResizeObserver(() => this.fit()).observe(this.canvas);
  }

  fit() {
    const width = this.canvas.clientWidth;
    if (!width) return;
    // What came before there was room for it is drawn as soon as there is.
    if (!this.plot && this.cycles) this.draw(this.cycles);
    else if (this.plot && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }

  draw(cycles) {
    this.cycles = cycles;
    const width = this.canvas.clientWidth;
    if (!width) return;
    const stacked = [];
    this.series.forEach((s, i) => {
      stacked.push(cycles.map((c, n) => s.of(c) + (i ? stacked[i - 1][n] : 0)));
    });
    // The highest first, so that the lower ones stand before it.
    const data = [cycles.map((_, n) => n), ...stacked.reverse()];
    const scheme = dark.matches ? "dark" : "light";
    if (this.plot && this.scheme !== scheme) {
      this.plot.destroy();
      this.plot = null;
    }
    this.scheme = scheme;
    if (this.plot) this.plot.setData(data);
    else this.plot = new uPlot(this.options(width), data, this.canvas);
    this.read(null);
    const latest = cycles[cycles.length - 1];
    set(this.canvas, "aria-label",
      `${this.title}: ${number(cycles.length, "cycle")}, the last one ${this.told(latest)}`);
  }

  options(width) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const quiet = { stroke: colour("--muted"), font: "11px system-ui, sans-serif", ticks: { show: false } };
    return {
      width,
      height: HEIGHT,
      padding: [8, 14, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: {
        x: { time: false, range: (_, least, most) => [Math.min(least, most - 11) - 0.6, most + 0.6] },
        y: { range: (_, least, most) => [0, Math.max(most * 1.05, 1)] },
      },
      axes: [
        {
          ...quiet,
          size: 20,
          gap: 3,
          grid: { show: false },
          space: 56,
          splits: (_, axis, least, most) => this.splits(least, most),
          values: (_, splits) => splits.map((n) => this.label(n)),
        },
        {
          ...quiet,
          size: (_, values) => 12 + 7 * Math.max(2, ...(values ?? []).map((v) => String(v ?? "").length)),
          gap: 4,
          space: 32,
          incrs: this.steps ?? [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500].flatMap((n) => [n, n * 1e3, n * 1e6]).sort((a, b) => a - b),
          grid: { stroke: colour("--line"), width: 1 },
          values: (_, splits) => splits.map((value) => (Number.isInteger(value) ? this.words(value) : "")),
        },
      ],
      series: [
        {},
        ...[...this.series].reverse().map((s) => ({
          fill: colour(s.colour),
          width: 0,
          points: { show: false },
          paths: uPlot.paths.bars({ size: [0.72, 22], radius: 0.15 }),
        })),
      ],
      hooks: { setCursor: [(plot) => this.read(plot.cursor.idx)] },
    };
  }

  splits(least, most) {
    const last = this.cycles.length - 1;
    const step = Math.max(1, Math.ceil((most - least) / 4));
    const found = [];
    for (let n = last; n >= Math.max(0, least); n -= step) found.unshift(n);
    return found;
  }

  label(n) {
    const cycle = this.cycles[n];
    return cycle ? clock(at(cycle.started_at), Date.now(), false).replace(/.*, (?=\d)/, "") : "";
  }

  read(index) {
    const cycle = this.cycles[index ?? this.cycles.length - 1];
    if (cycle) say(this.readout, `${clock(at(cycle.started_at))}: ${this.told(cycle)}`);
  }

  told(cycle) {
    const parts = this.series
      .filter((s, i) => !i || s.of(cycle))
      .map((s) => joined([this.words(s.of(cycle)), s.label], " "));
    return joined([...parts, ENDS[cycle.outcome] ?? cycle.outcome]);
  }
}
