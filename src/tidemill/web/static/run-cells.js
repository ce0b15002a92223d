// Where every task of a run stands, as the server tells it: one character per item, 0x100 + step * 8 + state
// (`grid_code` in domain/states.py). Counting and filtering 100,000 of them takes about a millisecond.

import { live } from "./live.js";

export const STATES = ["waiting", "running", "submitted", "done", "failed", "cancelled"];
const BASE = 0x100;
const NO_TASK = 0x20; // the run left that item of the batch out
const DONE = 3;
const MOST_HERE = 30_000; // of a long run: then its newest part is taken anew
const MOST_NEW = 10_000; // tasks that may enter at once

/** Where some tasks stand, by their index here. */
class Cells extends EventTarget {
  codes = new Uint16Array(0);

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
}

/** The tasks of a list: rows as `/api/runs/…/tasks` has them. */
export class ListedCells extends Cells {
  constructor(tasks) {
    super();
    this.tasks = tasks;
    this.codes = Uint16Array.from(tasks, (task) => BASE + task.step * 8 + STATES.indexOf(task.state));
  }

  position(index) {
    return this.tasks[index].position;
  }

  matching() {
    return null;
  }
}

/** The tasks of a run from one position to another: all of them, or the part of a long run that is shown. */
export class RunCells extends Cells {
  first = 0;
  low = 0;
  high = -1;
  tasks = 0;
  #there = null;
  #seq = null;
  #loading = null;
  #from = null;
  #list = null;

  constructor(run, steps) {
    super();
    this.run = run;
    this.steps = steps;
    this.counts = Array.from({ length: steps }, () => new Array(STATES.length).fill(0));
  }

  /** Begin with what the grid shows from this position on; null: with the whole run, or the newest of a long one. */
  async start(from) {
    this.#from = from;
    await this.load();
    live.watch(`run ${this.run}`, () => this.#seq && this.#subject(), (news) => this.#hear(news));
  }

  #subject() {
    const part = this.whole ? {} : { from: this.first, ...(this.newest ? {} : { to: this.last }) };
    return { run: this.run, since: this.#seq, ...part };
  }

  /** Go to the part of a long run that has this position; null: to the newest. */
  async go(from) {
    if (this.whole || (from ?? null) === this.#from) return;
    this.#from = from ?? null;
    await this.load();
    live.again(`run ${this.run}`);
  }

  /** Take a snapshot; the changes after it follow over the socket. */
  load() {
    this.#loading ??= this.#load().finally(() => (this.#loading = null));
    return this.#loading;
  }

  async #load() {
    const from = this.#from === null ? "" : `?from=${this.#from}`;
    const answer = await fetch(`/api/runs/${this.run}/grid${from}`, { headers: { accept: "application/json" } });
    if (!answer.ok) throw new Error(`The grid of run ${this.run} could not be read: ${answer.status}`);
    const { seq, cells, first, low, high } = await answer.json();
    Object.assign(this, { first, low, high });
    this.codes = Uint16Array.from({ length: cells.length }, (_, index) => cells.charCodeAt(index));
    this.#seq = seq;
    this.#count();
    this.#tell(null);
  }

  #count() {
    for (const row of this.counts) row.fill(0);
    for (const code of this.codes) if (code >= BASE) this.counts[(code - BASE) >> 3][(code - BASE) & 7] += 1;
    this.#there = this.codes.includes(NO_TASK) ? Uint32Array.from(this.codes.keys()).filter((index) => this.codes[index] !== NO_TASK) : null;
    this.tasks = this.#there?.length ?? this.codes.length;
  }

  /** Whether all of the run is here. Of a longer run there is a part, whose counts are not those of the run. */
  get whole() {
    return this.first === this.low && this.last >= this.high;
  }

  /** Whether the run's end is here, so that tasks which enter it belong here, too. */
  get newest() {
    return this.last >= this.high;
  }

  get last() {
    return this.first + this.codes.length - 1;
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
    let entered = false;
    for (const [position, character] of news.cells) {
      const index = position - this.first;
      if (index < 0 ? !this.whole : index >= this.length && !this.newest) continue; // in another part of a long run
      if (index < 0 || index >= this.length + MOST_NEW) return void this.#recover();
      if (!(this.codes[index] >= BASE)) entered = this.#make(index);
      this.#set(index, character.charCodeAt(0));
      changed.push(index);
    }
    if (this.length > MOST_HERE && !this.whole) return void this.#recover();
    if (entered) this.#count();
    this.#tell(entered ? null : changed);
  }

  /** Make room for a task that has entered the run. */
  #make(index) {
    if (index >= this.codes.length) {
      const longer = new Uint16Array(index + 1).fill(NO_TASK);
      longer.set(this.codes);
      this.codes = longer;
      this.high = Math.max(this.high, this.last);
    }
    this.codes[index] = BASE;
    return true;
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

  position(index) {
    return index + this.first;
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
