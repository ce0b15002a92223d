// <status-grid>: the items × steps of one run. Only the rows in sight are in the DOM, so 100,000 items scroll like 30.
//
// Attributes: run, steps (JSON list of names), signs (JSON object: state → sign), medians (JSON list of seconds or null),
// word, words (what an item and items are called). Its light DOM is the table that works without JavaScript; this element
// takes its place. Events: `cells`, after the run has changed, with the RunCells as `detail`. State, step, search and row
// live in the URL. Of a run of more than 100,000 items a part is here (`long-run.js`).

import { build, newRow } from "./grid-parts.js";
import { LongRun } from "./long-run.js";
import { MiniMap } from "./mini-map.js";
import { RunCells, STATES } from "./run-cells.js";
import { TaskRows } from "./task-rows.js";
import { CellTip } from "./cell-tip.js";

const ROW = 24;
const SPARE = 6;
const NOT_YET = "·";

class StatusGrid extends HTMLElement {
  #rows = new Map();
  #spare = [];
  #view = null;
  #active = { row: 0, column: 0 };
  #drawing = 0;
  #filtering = 0;
  #walking = false;

  connectedCallback() {
    if (this.cells) return;
    this.steps = JSON.parse(this.getAttribute("steps"));
    this.signs = JSON.parse(this.getAttribute("signs"));
    const medians = JSON.parse(this.getAttribute("medians") ?? "[]");
    this.cells = new RunCells(Number(this.getAttribute("run")), this.steps.length);
    this.here = this.cells;
    this.tasks = new TaskRows(this.cells.run, () => {
      this.#draw();
      this.tip.refresh();
    });
    this.#build();
    this.tip = new CellTip(this, medians);
    this.map = new MiniMap(this.querySelector("canvas"), this);
    this.cells.addEventListener("change", (event) => this.#changed(event.detail));
    this.long = new LongRun(this);
    this.ready = this.cells.start(this.#from()).then(() => this.#restore());
    this.ready.catch((error) => this.#say(error.message));
  }

  #build() {
    const { header, map, ...parts } = build(this);
    Object.assign(this, parts);
    this.replaceChildren(this.grid, map, this.empty);
    this.after(this.pages);
    this.classList.add("ready");
    this.viewport.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.grid.addEventListener("keydown", (event) => this.#pressed(event));
    this.grid.addEventListener("pointerdown", (event) => this.#pointed(event));
    new ResizeObserver(() => {
      // The head stands above the scroll bar, if the rows have one.
      header.style.paddingRight = `${this.viewport.offsetWidth - this.viewport.clientWidth}px`;
      this.draw();
    }).observe(this);
  }

  // ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────────

  /** Show only some tasks: `state` a word, `step` a number, `search` a part of the name; null or "" for any. */
  async filter({ state, step, search }) {
    this.filters = { state: state || null, step: Number.isInteger(step) ? step : null, search: search?.trim() || null };
    this.#found = null;
    this.tasks.filter(this.filters);
    const turn = (this.#turn += 1);
    this.here = this.cells;
    if (this.filters.search || this.long.listing) {
      this.#say("Searching…");
      const found = await (this.long.listing ? this.long.list(this.#from() ?? 0) : this.tasks.search());
      if (turn !== this.#turn) return;
      if (this.long.listing) this.here = found;
      else this.#found = Uint32Array.from(found.positions, (position) => position - this.cells.first);
      this.#more = Boolean(found.more);
    } else await this.cells.go(this.#from());
    if (turn !== this.#turn) return;
    this.#refilter();
    const newest = this.here === this.cells && !this.cells.whole && this.#from() === null;
    this.#active.row = newest ? this.shown - 1 : 0;
    this.jump(this.#active.row);
  }

  /** The list again as it is now, where one reads on. */
  async relist() {
    const [turn, found] = [this.#turn, await this.long.list(this.#from() ?? 0)];
    if (turn !== this.#turn) return;
    this.here = found;
    this.#refilter();
  }

  #found = null;
  #more = false;
  #turn = 0;

  #refilter() {
    const { scrollTop, clientHeight, scrollHeight } = this.viewport;
    const atEnd = scrollTop > 0 && scrollTop + clientHeight > scrollHeight - ROW;
    const { state, step, search } = this.filters ?? {};
    const number = state ? STATES.indexOf(state) : null;
    if (search && this.#found) {
      this.#view = this.#found.filter(
        (index) =>
          (number === null || this.cells.stateAt(index) === number) && (step === null || this.cells.cursor(index) === step),
      );
    } else this.#view = this.here.matching(number, step ?? null);
    this.grid.setAttribute("aria-rowcount", this.shown + 1);
    this.space.style.height = `${this.shown * ROW}px`;
    if (atEnd) this.viewport.scrollTop = this.viewport.scrollHeight; // what enters there is followed
    this.long.show();
    this.#say(this.#summary(search));
    this.map?.draw();
    this.draw();
  }

  #summary(search) {
    if (this.shown) return search && this.#more ? `The first ${this.shown} that match; narrow the search to see others.` : "";
    return this.cells.length ? "Nothing matches these filters." : `This run has no ${this.getAttribute("words")} yet.`;
  }

  #say(words) {
    this.empty.textContent = words;
    this.empty.hidden = !words;
  }

  /** How many rows there are under the filters. */
  get shown() {
    return this.#view ? this.#view.length : this.here.length;
  }

  /** The item's index of a row. */
  index(row) {
    return this.#view ? this.#view[row] : row;
  }

  /** The task's position in the run. */
  position(row) {
    return this.here.position(this.index(row));
  }

  #changed(changed) {
    if (changed === null && this.here === this.cells) this.#refilter();
    else if (this.here !== this.cells) this.long.stale();
    else if (this.#view && changed.length && !this.#filtering) {
      this.#filtering = setTimeout(() => {
        this.#filtering = 0;
        this.#refilter();
      }, 700);
    }
    if (changed) this.tasks.stale(changed.map((index) => this.cells.position(index)));
    this.draw();
    this.map.drawSoon();
    this.dispatchEvent(new CustomEvent("cells", { detail: this.cells, bubbles: true }));
  }

  // ── drawing ──────────────────────────────────────────────────────────────────────────────────────────────────────

  draw() {
    this.#drawing ||= requestAnimationFrame(() => {
      this.#drawing = 0;
      this.#draw();
    });
  }

  get range() {
    const first = Math.max(0, Math.floor(this.viewport.scrollTop / ROW) - SPARE);
    const last = Math.min(this.shown, Math.ceil((this.viewport.scrollTop + this.viewport.clientHeight) / ROW) + SPARE);
    return [first, last];
  }

  #draw() {
    const [first, last] = this.range;
    for (const [row, drawn] of this.#rows) {
      if (row >= first && row < last) continue;
      drawn.remove();
      this.#spare.push(drawn);
      this.#rows.delete(row);
    }
    for (let row = first; row < last; row += 1) this.#drawRow(row);
    this.tasks.want(Array.from({ length: last - first }, (_, at) => this.position(first + at)));
    this.#mark();
    this.map?.drawWindow();
  }

  #drawRow(row) {
    let drawn = this.#rows.get(row);
    if (!drawn) {
      drawn = this.#spare.pop() ?? newRow(this.steps);
      this.#rows.set(row, drawn);
      drawn.style.transform = `translateY(${row * ROW}px)`;
      drawn.setAttribute("aria-rowindex", row + 2);
      this.space.append(drawn);
    }
    const index = this.index(row);
    const task = this.tasks.get(this.here.position(index));
    const name = task?.item ?? "…";
    const code = this.here.codes[index];
    const paused = task?.state === "waiting" && task?.reason ? " held" : "";
    const key = `${index} ${code} ${name}${paused}`;
    if (drawn.dataset.key === key) return;
    drawn.dataset.key = key;
    const link = drawn.firstChild.firstChild;
    if (link.textContent !== name) link.textContent = name;
    if (task) link.href = this.#address(task);
    else link.removeAttribute("href");
    for (let step = 0; step < this.steps.length; step += 1) {
      this.#drawCell(drawn.children[step + 1], this.here.cell(index, step), step === this.here.cursor(index) ? paused : "");
    }
  }

  #drawCell(cell, state, held) {
    const word = state < 0 ? "not yet" : STATES[state];
    const className = `g-cell ${state < 0 ? "s-none" : `s-${word}`}${held}`;
    if (cell.className === className) return;
    cell.className = className;
    cell.firstChild.textContent = state < 0 ? NOT_YET : this.signs[word];
    cell.lastChild.textContent = word;
  }

  #address(task) {
    return `/items/${encodeURIComponent(task.item)}?run=${this.cells.run}`;
  }

  // ── keyboard and pointer ─────────────────────────────────────────────────────────────────────────────────────────

  cellAt({ row, column }) {
    return this.#rows.get(row)?.children[column] ?? null;
  }

  get active() {
    return this.#active;
  }

  #mark() {
    this.querySelector(".active")?.classList.remove("active");
    const cell = this.cellAt(this.#active);
    if (!cell) return void this.grid.removeAttribute("aria-activedescendant");
    cell.classList.add("active");
    cell.id = `cell-${this.#active.row}-${this.#active.column}`;
    this.grid.setAttribute("aria-activedescendant", cell.id);
  }

  move(row, column = this.#active.column) {
    this.#active = {
      row: Math.max(0, Math.min(this.shown - 1, row)),
      column: Math.max(0, Math.min(this.steps.length, column)),
    };
    const top = this.#active.row * ROW;
    const { scrollTop, clientHeight } = this.viewport;
    if (top < scrollTop) this.viewport.scrollTop = top;
    else if (top + ROW > scrollTop + clientHeight) this.viewport.scrollTop = top + ROW - clientHeight;
    this.#walking = this.viewport.scrollTop !== scrollTop;
    this.#draw();
    this.tip.show(this.#active);
  }

  #pressed(event) {
    const { row, column } = this.#active;
    const page = Math.max(1, Math.floor(this.viewport.clientHeight / ROW) - 1);
    const moves = {
      ArrowDown: [row + 1], ArrowUp: [row - 1], PageDown: [row + page], PageUp: [row - page],
      ArrowRight: [row, column + 1], ArrowLeft: [row, column - 1],
      Home: event.ctrlKey ? [0, 0] : [row, 0], End: event.ctrlKey ? [this.shown - 1] : [row, this.steps.length],
    };
    if (event.altKey || event.metaKey) return;
    if (event.key in moves) this.move(...moves[event.key]);
    else if (event.key === "Enter") this.#open();
    else if (event.key === "Escape") this.tip.hide();
    else return;
    event.preventDefault();
  }

  #open() {
    const task = this.shown ? this.tasks.get(this.position(this.#active.row)) : null;
    if (task) location.assign(this.#address(task));
  }

  #pointed(event) {
    const place = this.placeOf(event.target);
    if (!place) return;
    this.#active = place;
    this.#mark();
  }

  /** The row and column of what lies under the pointer, or null. */
  placeOf(target) {
    const cell = target.closest?.(".g-space [role=gridcell], .g-space [role=rowheader]");
    if (!cell) return null;
    return { row: Number(cell.parentNode.getAttribute("aria-rowindex")) - 2, column: Number(cell.getAttribute("aria-colindex")) - 1 };
  }

  // ── the URL ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The position that the URL names, or null. */
  #from() {
    const from = new URLSearchParams(location.search).get("from");
    return from === null || !Number.isInteger(Number(from)) ? null : Number(from);
  }

  async #restore() {
    const query = new URLSearchParams(location.search);
    const step = query.get("step");
    await this.filter({ state: query.get("state"), step: step ? Number(step) : null, search: query.get("search") });
    const index = (this.#from() ?? 0) - this.cells.first;
    if (index > 0 && this.here === this.cells) this.jump(this.#view ? this.#view.findIndex((found) => found >= index) : index);
  }

  /** Bring a row to the top of the window. */
  jump(row) {
    this.viewport.scrollTop = Math.max(0, row) * ROW;
    this.draw();
  }

  #scrolled() {
    if (!this.#walking) this.tip.hide();
    this.#walking = false;
    this.draw();
    clearTimeout(this.noting);
    this.noting = setTimeout(() => this.#note(), 300);
  }

  #note() {
    if (this.here !== this.cells) return;
    const url = new URL(location.href);
    const row = Math.round(this.viewport.scrollTop / ROW);
    if (row < this.shown && (row || !this.cells.whole)) url.searchParams.set("from", this.position(row));
    else url.searchParams.delete("from");
    history.replaceState(history.state, "", url);
  }
}

customElements.define("status-grid", StatusGrid);
