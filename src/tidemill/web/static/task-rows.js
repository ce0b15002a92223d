// Names, reasons and times of a run's tasks, fetched by window as they come into sight.

const PAGE = 200;
const SEARCH_PAGE = 1000;
const SEARCH_MOST = 5000;
const KEPT = 20_000;
const STALE_WAIT = 800;

export class TaskRows {
  #rows = new Map();
  #stale = new Set();
  #filters = {};
  #busy = false;
  #wanted = [];
  #timer = 0;

  constructor(run, arrived) {
    this.run = run;
    this.arrived = arrived;
  }

  filter(filters) {
    this.#filters = filters;
  }

  get(position) {
    return this.#rows.get(position);
  }

  /** These tasks have changed: what is known of them is shown until the new is there. */
  stale(positions) {
    for (const position of positions) if (this.#rows.has(position)) this.#stale.add(position);
  }

  /** These positions are in sight, in order. */
  want(positions) {
    this.#wanted = positions;
    clearTimeout(this.#timer);
    if (positions.some((position) => !this.#rows.has(position))) this.#fetch();
    else if (positions.some((position) => this.#stale.has(position))) {
      this.#timer = setTimeout(() => this.#fetch(), STALE_WAIT);
    }
  }

  async #fetch() {
    if (this.#busy) return;
    const missing = this.#wanted.filter((position) => !this.#rows.has(position) || this.#stale.has(position));
    if (!missing.length) return;
    this.#busy = true;
    try {
      for (const position of missing) this.#stale.delete(position);
      const dense = missing[missing.length - 1] - missing[0] < PAGE;
      const { tasks } = await this.#ask({ from: missing[0], limit: PAGE, ...(dense ? {} : this.#filters) });
      this.#keep(tasks);
      // What the filter no longer holds (it changed meanwhile) is asked for without it.
      const lost = missing.find((position) => !this.#rows.has(position));
      if (lost !== undefined && !dense) this.#keep((await this.#ask({ from: lost, limit: PAGE })).tasks);
    } catch {
      // The site is away for a moment: what is in sight is asked for again.
      await new Promise((resolve) => setTimeout(resolve, 2000));
    } finally {
      this.#busy = false;
    }
    this.arrived();
  }

  #keep(tasks) {
    if (this.#rows.size > KEPT) this.#rows.clear();
    for (const task of tasks) this.#rows.set(task.position, task);
  }

  async #ask(parameters) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(parameters)) if (value !== null && value !== undefined) query.set(name, value);
    const answer = await fetch(`/api/runs/${this.run}/tasks?${query}`, { headers: { accept: "application/json" } });
    if (!answer.ok) throw new Error(`The tasks of run ${this.run} could not be read: ${answer.status}`);
    return answer.json();
  }

  /** Some of the tasks that match the filters, from a position on, and where the next begin (null: nowhere). */
  async page(from, limit) {
    const found = await this.#ask({ from, limit, ...this.#filters });
    this.#keep(found.tasks);
    return found;
  }

  /** The positions of all tasks whose name matches the search, up to a bound; `more`: there are others. */
  async search() {
    const positions = [];
    const search = this.#filters.search;
    for (let from = 0; from !== null && positions.length < SEARCH_MOST; ) {
      const { tasks, next } = await this.#ask({ from, limit: SEARCH_PAGE, search });
      this.#keep(tasks);
      positions.push(...tasks.map((task) => task.position));
      if (next === null) return { positions, more: false };
      from = next;
    }
    return { positions, more: true };
  }
}
