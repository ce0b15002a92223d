// What a cell says when it is pointed at or reached by keyboard: state, reason, time, progress, and how long it usually takes.

import { STATES } from "./run-cells.js";

const duration = (seconds) => {
  if (seconds < 1) return `${seconds.toFixed(2)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${(seconds / 3600).toFixed(1)} h`;
};

export class CellTip {
  #waiting = 0;
  #place = null;

  constructor(grid, medians) {
    this.grid = grid;
    this.medians = medians;
    this.tip = document.createElement("div");
    this.tip.className = "g-tip";
    this.tip.setAttribute("role", "tooltip");
    this.tip.id = "cell-tip";
    this.tip.hidden = true;
    grid.append(this.tip);
    grid.viewport.addEventListener("pointermove", (event) => this.#later(event.target));
    grid.viewport.addEventListener("pointerleave", () => this.hide());
    grid.grid.addEventListener("blur", () => this.hide());
  }

  #later(target) {
    clearTimeout(this.#waiting);
    const place = this.grid.placeOf(target);
    if (!place) return this.hide();
    this.#waiting = setTimeout(() => this.show(place), 120);
  }

  hide() {
    clearTimeout(this.#waiting);
    this.tip.hidden = true;
  }

  refresh() {
    if (!this.tip.hidden) this.show(this.#place);
  }

  show(place) {
    this.#place = place;
    const cell = this.grid.cellAt(place);
    if (!cell || this.grid.shown === 0) return this.hide();
    this.tip.replaceChildren(...this.#lines(place).map((line) => Object.assign(document.createElement("p"), { textContent: line })));
    this.tip.hidden = false;
    const box = cell.getBoundingClientRect();
    const outer = this.grid.getBoundingClientRect();
    const left = Math.min(box.left - outer.left, outer.width - this.tip.offsetWidth - 8);
    const below = box.bottom - outer.top + 4;
    const fits = below + this.tip.offsetHeight < outer.height;
    this.tip.style.left = `${Math.max(4, left)}px`;
    this.tip.style.top = `${fits ? below : box.top - outer.top - this.tip.offsetHeight - 4}px`;
  }

  #lines({ row, column }) {
    const { here: cells, tasks, steps } = this.grid;
    const index = this.grid.index(row);
    const task = tasks.get(cells.position(index));
    const name = task?.item ?? `number ${cells.position(index)}`;
    if (column === 0) return [name, this.#sentence(steps[cells.cursor(index)], STATES[cells.stateAt(index)])];
    const step = column - 1;
    const state = cells.cell(index, step);
    const lines = [`${name} · ${steps[step]}: ${state < 0 ? "not yet" : STATES[state]}`];
    if (task && step === cells.cursor(index) && task.state === STATES[state]) lines.push(...this.#details(task, step));
    return lines;
  }

  #sentence(step, state) {
    return state === "done" ? "done with every step" : `${state} at ${step}`;
  }

  #details(task, step) {
    const lines = [];
    const median = this.medians[step];
    if (task.reason) lines.push(task.reason);
    if (task.state === "running" || task.state === "submitted") {
      const tries = task.tries ? `, try ${task.tries + 1}` : "";
      if (task.seconds != null) lines.push(`for ${duration(task.seconds)}${tries}`);
      if (task.progress != null) lines.push(`${Math.round(task.progress * 100)} % (as the app reports)`);
      else if (task.estimate != null) lines.push(`about ${Math.round(task.estimate * 100)} % (an estimate from the time it usually takes)`);
      if (median != null) lines.push(`usually takes ${duration(median)}`);
    } else if (task.finished_at) lines.push(`since ${new Date(task.finished_at).toLocaleString()}`);
    return lines;
  }
}
