// <status-grid>: the items × steps of one run. Only the rows in sight are in the DOM, so 100,000 items scroll like 30.
//
// Attributes: run, steps (JSON list of names), signs (JSON object: state → sign), medians (JSON list of seconds or null),
// word (what an item is called). Its light DOM is the table that works without JavaScript; this element takes its place.
// Events: `cells`, after the run has changed, with the RunCells as `detail`. State, step, search and row live in the URL.

import { MiniMap } from "./mini-map.js";
import { RunCells, STATES } from "./run-cells.js";
import { TaskRows } from "./task-rows.js";
import { CellTip } from "./cell-tip.js";

const ROW = 24;
const SPARE = 6;
const NOT_YET = "·";

const element = (tag, className, attributes = {}, text = "") => {
  const made = document.createElement(tag);
  made.className = className;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
};

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
    this.tasks = new TaskRows(this.cells.run, () => {
      this.#draw();
      this.tip.refresh();
    });
    this.#build();
    this.tip = new CellTip(this, medians);
    this.map = new MiniMap(this.querySelector("canvas"), this);
    this.cells.addEventListener("change", (event) => this.#changed(event.detail));
    this.ready = this.cells.start().then(() => this.#restore());
    this.ready.catch((error) => this.#say(error.message));
  }

  #build() {
    const head = element("div", "g-row g-head", { role: "row", "aria-rowindex": "1" });
    head.append(element("div", "g-name", { role: "columnheader", "aria-colindex": "1" }, this.getAttribute("word")));
    this.steps.forEach((name, step) =>
      head.append(element("div", "g-cell", { role: "columnheader", "aria-colindex": step + 2, title: name }, name)),
    );
    this.space = element("div", "g-space", { role: "presentation" });
    this.viewport = element("div", "g-viewport", { role: "rowgroup", tabindex: "-1" });
    this.viewport.append(this.space);
    const header = element("div", "g-header", { role: "rowgroup" });
    header.append(head);
    this.grid = element("div", "g-grid", {
      role: "grid", tabindex: "0", "aria-label": this.getAttribute("label"), "aria-colcount": this.steps.length + 1,
      "aria-readonly": "true",
    });
    this.grid.append(header, this.viewport);
    this.empty = element("p", "g-empty", { role: "status" });
    const map = element("canvas", "g-map", { "aria-hidden": "true", title: "All items by state: click to jump" });
    this.replaceChildren(this.grid, map, this.empty);
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
    if (this.filters.search) {
      this.#say("Searching…");
      const { positions, more } = await this.tasks.search();
      if (turn !== this.#turn) return;
      this.#found = Uint32Array.from(positions, (position) => position - this.cells.first);
      this.#more = more;
    }
    this.#refilter();
    this.viewport.scrollTop = 0;
    this.#active.row = 0;
    this.draw();
  }

  #found = null;
  #more = false;
  #turn = 0;

  #refilter() {
    const { state, step, search } = this.filters ?? {};
    const number = state ? STATES.indexOf(state) : null;
    if (search && this.#found) {
      this.#view = this.#found.filter(
        (index) =>
          (number === null || this.cells.stateAt(index) === number) && (step === null || this.cells.cursor(index) === step),
      );
    } else this.#view = this.cells.matching(number, step ?? null);
    this.grid.setAttribute("aria-rowcount", this.shown + 1);
    this.space.style.height = `${this.shown * ROW}px`;
    this.#say(this.#summary(search));
    this.map?.draw();
    this.draw();
  }

  #summary(search) {
    if (this.shown) return search && this.#more ? `The first ${this.shown} that match; narrow the search to see others.` : "";
    return this.cells.length ? "Nothing matches these filters." : "This run has no items.";
  }

  #say(words) {
    this.empty.textContent = words;
    this.empty.hidden = !words;
  }

  /** How many rows there are under the filters. */
  get shown() {
    return this.#view ? this.#view.length : this.cells.length;
  }

  /** The item's index of a row. */
  index(row) {
    return this.#view ? this.#view[row] : row;
  }

  #changed(changed) {
    if (changed === null) this.#refilter();
    else if (this.#view && changed.length && !this.#filtering) {
      this.#filtering = setTimeout(() => {
        this.#filtering = 0;
        this.#refilter();
      }, 700);
    }
    if (changed) this.tasks.stale(changed.map((index) => index + this.cells.first));
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
    this.tasks.want(Array.from({ length: last - first }, (_, at) => this.index(first + at) + this.cells.first));
    this.#mark();
    this.map?.drawWindow();
  }

  #drawRow(row) {
    let drawn = this.#rows.get(row);
    if (!drawn) {
      drawn = this.#spare.pop() ?? this.#newRow();
      this.#rows.set(row, drawn);
      drawn.style.transform = `translateY(${row * ROW}px)`;
      drawn.setAttribute("aria-rowindex", row + 2);
      this.space.append(drawn);
    }
    const index = this.index(row);
    const task = this.tasks.get(index + this.cells.first);
    const name = task?.item ?? "…";
    const code = this.cells.codes[index];
    const paused = task?.state === "waiting" && task?.reason ? " held" : "";
    const key = `${index} ${code} ${name}${paused}`;
    if (drawn.dataset.key === key) return;
    drawn.dataset.key = key;
    const link = drawn.firstChild.firstChild;
    if (link.textContent !== name) link.textContent = name;
    if (task) link.href = this.#address(task);
    else link.removeAttribute("href");
    for (let step = 0; step < this.steps.length; step += 1) {
      this.#drawCell(drawn.children[step + 1], this.cells.cell(index, step), step === this.cells.cursor(index) ? paused : "");
    }
  }

  #newRow() {
    const row = element("div", "g-row", { role: "row" });
    const name = element("div", "g-name", { role: "rowheader", "aria-colindex": "1" });
    name.append(element("a", "", { tabindex: "-1" }));
    row.append(name);
    this.steps.forEach((_, step) => {
      const cell = element("div", "g-cell", { role: "gridcell", "aria-colindex": step + 2 });
      cell.append(element("span", "sign", { "aria-hidden": "true" }), element("span", "word"));
      row.append(cell);
    });
    return row;
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
    const task = this.tasks.get(this.index(this.#active.row) + this.cells.first);
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

  async #restore() {
    const query = new URLSearchParams(location.search);
    const step = query.get("step");
    await this.filter({ state: query.get("state"), step: step ? Number(step) : null, search: query.get("search") });
    const from = Number(query.get("from") ?? 0) - this.cells.first;
    if (from > 0) this.jump(this.#view ? this.#view.findIndex((index) => index >= from) : from);
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
    const url = new URL(location.href);
    const row = Math.round(this.viewport.scrollTop / ROW);
    if (row && row < this.shown) url.searchParams.set("from", this.index(row) + this.cells.first);
    else url.searchParams.delete("from");
    history.replaceState(history.state, "", url);
  }
}

customElements.define("status-grid", StatusGrid);
