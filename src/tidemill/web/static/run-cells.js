// Where every task of a run stands, as the server tells it: one character per item, 0x100 + step * 8 + state
// (`grid_code` in domain/states.py). Counting and filtering 100,000 of them takes about a millisecond.

import { live } from "./live.js";

export const STATES = ["waiting", "running", "submitted", "done", "failed", "cancelled"];
const BASE = 0x100;
const NO_TASK = 0x20; // the run left that item of the batch out
const DONE = 3;

export class RunCells extends EventTarget {
  codes = new Uint16Array(0);
  first = 0;
  tasks = 0;
  #there = null;
  #seq = null;
  #loading = null;

  constructor(run, steps) {
    super();
    this.run = run;
    this.steps = steps;
    this.counts = Array.from({ length: steps }, () => new Array(STATES.length).fill(0));
  }

  async start() {
    await this.load();
    live.watch(`run ${this.run}`, () => this.#seq && { run: this.run, since: this.#seq }, (news) => this.#hear(news));
  }

  /** Take a snapshot of the whole run; the changes after it follow over the socket. */
  load() {
    this.#loading ??= this.#load().finally(() => (this.#loading = null));
    return this.#loading;
  }

  async #load() {
    const answer = await fetch(`/api/runs/${this.run}/grid`, { headers: { accept: "application/json" } });
    if (!answer.ok) throw new Error(`The grid of run ${this.run} could not be read: ${answer.status}`);
    const { seq, cells, first } = await answer.json();
    this.first = first ?? 0;
    this.codes = Uint16Array.from({ length: cells.length }, (_, index) => cells.charCodeAt(index));
    this.#seq = seq;
    for (const row of this.counts) row.fill(0);
    for (const code of this.codes) if (code >= BASE) this.counts[(code - BASE) >> 3][(code - BASE) & 7] += 1;
    this.#there = this.codes.includes(NO_TASK) ? Uint32Array.from(this.codes.keys()).filter((index) => this.codes[index] !== NO_TASK) : null;
    this.tasks = this.#there?.length ?? this.codes.length;
    this.#tell(null);
  }

  #hear(news) {
    if (news.reset && (news.run === undefined || news.run === this.run)) {
      this.#recover();
      return;
    }
    if (news.run !== this.run) return;
    if (news.seq) this.#seq = news.seq;
    if (news.overview) this.dispatchEvent(new CustomEvent("overview", { detail: news.overview }));
    if (!news.cells) return;
    const changed = [];
    for (const [position, character] of news.cells) {
      const index = position - this.first;
      if (!(this.codes[index] >= BASE)) return void this.#recover();
      this.#set(index, character.charCodeAt(0));
      changed.push(index);
    }
    this.#tell(changed);
  }

  /** Take a new snapshot and follow from there; again and again until it is there. */
  #recover() {
    this.load().then(
      () => live.again(`run ${this.run}`),
      () => setTimeout(() => this.#recover(), 2000),
    );
  }

  #set(index, code) {
    const old = this.codes[index] - BASE;
    this.counts[old >> 3][old & 7] -= 1;
    this.counts[(code - BASE) >> 3][(code - BASE) & 7] += 1;
    this.codes[index] = code;
  }

  #tell(changed) {
    this.dispatchEvent(new CustomEvent("change", { detail: changed }));
  }

  get length() {
    return this.codes.length;
  }

  cursor(index) {
    return (this.codes[index] - BASE) >> 3;
  }

  stateAt(index) {
    return (this.codes[index] - BASE) & 7;
  }

  /** The state of one cell: its number in STATES, or -1 where the item has not come to that step. */
  cell(index, step) {
    const cursor = this.cursor(index);
    return step < cursor ? DONE : step === cursor ? this.stateAt(index) : -1;
  }

  /** The indices whose task stands in `state` and at `step` (null: any), or null when nothing is left out. */
  matching(state, step) {
    if (state === null && step === null) return this.#there;
    const found = [];
    this.codes.forEach((code, index) => {
      const at = code - BASE;
      if (at >= 0 && (state === null || (at & 7) === state) && (step === null || at >> 3 === step)) found.push(index);
    });
    return Uint32Array.from(found);
  }

  /** How many tasks have this step behind them. */
  past(step) {
    let total = this.counts[step][DONE];
    for (let later = step + 1; later < this.steps; later += 1) for (const count of this.counts[later]) total += count;
    return total;
  }

  total(state) {
    return this.counts.reduce((sum, row) => sum + row[STATES.indexOf(state)], 0);
  }

  stepsLeft() {
    return this.counts.reduce((sum, row, step) => sum + (row[0] + row[1] + row[2]) * (this.steps - step), 0);
  }
}
