// What is different about a run of more than 100,000 items: a part of it is shown, by position; its filters ask the server
// and show what comes as a list. Which part or list it is stands in the URL (`from`), so the ways to others are links.

import { ListedCells } from "./run-cells.js";

const PART = 20_000; // as `runner/look.py` has it
const MOST = 1000;
const RELIST = 2000;

export class LongRun {
  #next = null;
  #timer = 0;

  constructor(grid) {
    this.grid = grid;
    // While a list is shown, its rows are asked for again when the run's numbers have changed.
    let told = "";
    grid.cells.addEventListener("overview", ({ detail }) => {
      const now = JSON.stringify([detail.totals, detail.steps.map((step) => step.counts)]);
      if (told && now !== told) this.stale();
      told = now;
    });
  }

  /** Whether the filters are the server's to answer. */
  get listing() {
    const { state, step, search } = this.grid.filters ?? {};
    return !this.grid.cells.whole && Boolean(state || step !== null || search);
  }

  /** The tasks that match the filters, from a position on. */
  async list(from) {
    const { tasks, next } = await this.grid.tasks.page(from, MOST);
    this.#next = next;
    return new ListedCells(tasks);
  }

  stale() {
    if (!this.listing) return;
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      if (this.listing) this.grid.relist().catch(() => this.stale());
    }, RELIST);
  }

  /** Say which part this is, with the ways to the others. */
  show() {
    const { cells, pages } = this.grid;
    pages.hidden = cells.whole;
    if (!cells.whole) pages.replaceChildren(...(this.listing ? this.#listed() : this.#part()));
  }

  #part() {
    const { cells } = this.grid;
    const number = (position) => (position + 1).toLocaleString("en");
    const words = this.grid.getAttribute("words");
    const said = `${words} ${number(cells.first)} to ${number(cells.last)} of ${number(cells.high)}`;
    const earlier = cells.first > cells.low;
    return [
      document.createTextNode(said[0].toUpperCase() + said.slice(1)),
      earlier && this.#link("First", cells.low),
      earlier && this.#link("Earlier", Math.max(cells.low, cells.first - PART)),
      !cells.newest && this.#link("Later", cells.last + 1),
      !cells.newest && this.#link("Newest", null),
    ].filter(Boolean);
  }

  #listed() {
    const began = new URLSearchParams(location.search).has("from");
    const said = this.#next === null ? (began ? "The last that match" : "All that match") : `${this.grid.shown.toLocaleString("en")} that match`;
    return [
      document.createTextNode(said),
      began && this.#link("From the first", null),
      this.#next !== null && this.#link("Further", this.#next),
    ].filter(Boolean);
  }

  #link(words, from) {
    const url = new URL(location.href);
    if (from === null) url.searchParams.delete("from");
    else url.searchParams.set("from", from);
    const link = document.createElement("a");
    link.href = url;
    link.textContent = words;
    return link;
  }
}
