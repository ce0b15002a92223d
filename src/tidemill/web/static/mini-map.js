// The strip beside the grid: all its rows from top to bottom, each line of pixels shared out among the states that its
// rows are in. A failed item among thousands still gets its pixels. Click or drag to go there.

import { STATES } from "./run-cells.js";

const LEAST = 3;

export class MiniMap {
  #picture = null;
  #timer = 0;

  constructor(canvas, grid) {
    this.canvas = canvas;
    this.grid = grid;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#jump(event);
    });
    canvas.addEventListener("pointermove", (event) => event.buttons && this.#jump(event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  drawSoon() {
    this.#timer ||= setTimeout(() => this.draw(), 250);
  }

  draw() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const width = (this.canvas.width = this.canvas.clientWidth);
    const height = (this.canvas.height = this.canvas.clientHeight);
    if (!width || !height) return;
    const brush = this.canvas.getContext("2d", { willReadFrequently: true });
    const style = getComputedStyle(this.canvas);
    const colours = STATES.map((state) => style.getPropertyValue(`--${state}`));
    const rows = this.grid.shown;
    const lines = Math.min(height, rows);
    for (let line = 0; line < lines; line += 1) {
      const top = Math.floor((line * height) / lines);
      this.#drawLine(brush, colours, this.#share(line, lines, rows), top, Math.ceil(height / lines), width);
    }
    this.#picture = brush.getImageData(0, 0, width, height);
    this.drawWindow();
  }

  #share(line, lines, rows) {
    const share = new Array(STATES.length).fill(0);
    const last = Math.floor(((line + 1) * rows) / lines);
    for (let row = Math.floor((line * rows) / lines); row < last; row += 1) {
      share[this.grid.here.stateAt(this.grid.index(row))] += 1;
    }
    return share;
  }

  #drawLine(brush, colours, share, top, height, width) {
    const total = share.reduce((sum, count) => sum + count, 0);
    let left = width;
    // From the right, the rarest and most urgent states first: they keep their least width.
    for (const state of [4, 5, 1, 2, 0, 3]) {
      if (!share[state]) continue;
      const wide = Math.min(left, Math.max(LEAST, Math.round((share[state] / total) * width)));
      brush.fillStyle = colours[state];
      brush.fillRect(left - wide, top, wide, height);
      left -= wide;
    }
    if (left > 0) {
      const most = share.indexOf(Math.max(...share));
      brush.fillStyle = colours[most];
      brush.fillRect(0, top, left, height);
    }
  }

  drawWindow() {
    if (!this.#picture) return;
    const brush = this.canvas.getContext("2d");
    brush.putImageData(this.#picture, 0, 0);
    const { scrollTop, clientHeight, scrollHeight } = this.grid.viewport;
    if (scrollHeight <= clientHeight) return;
    const scale = this.canvas.height / scrollHeight;
    brush.strokeStyle = getComputedStyle(this.canvas).getPropertyValue("--ink");
    brush.lineWidth = 2;
    brush.strokeRect(1, Math.max(1, scrollTop * scale), this.canvas.width - 2, Math.max(6, clientHeight * scale - 2));
  }

  #jump(event) {
    const box = this.canvas.getBoundingClientRect();
    const part = (event.clientY - box.top) / box.height;
    const rows = this.grid.viewport.clientHeight / 24;
    this.grid.jump(Math.round(part * this.grid.shown - rows / 2));
  }
}
