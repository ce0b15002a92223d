// Keeps a run's numbers current as the grid is: counts per step, bar, rate and time left.

import { STATES } from "./run-cells.js";

const write = (selector, value) => {
  for (const place of document.querySelectorAll(selector)) {
    const text = typeof value === "number" ? value.toLocaleString("en") : value;
    if (place.textContent !== text) place.textContent = text;
  }
};

const grid = document.querySelector("status-grid");

/** A run's numbers: from the cells where all of them are here, else as the server counts them. */
class Numbers {
  constructor(cells, overview) {
    this.steps = cells.steps;
    if (cells.whole) {
      this.tasks = cells.tasks;
      this.total = (state) => cells.total(state);
      this.count = (step, state) => (state === "done" ? cells.past(step) : cells.counts[step][STATES.indexOf(state)]);
      this.left = cells.stepsLeft();
      this.percent = this.left ? Math.floor(((this.tasks * this.steps - this.left) * 1000) / (this.tasks * this.steps)) / 10 : 100;
    } else {
      this.tasks = Object.values(overview.totals).reduce((sum, count) => sum + count, 0);
      this.total = (state) => overview.totals[state];
      this.count = (step, state) => overview.steps[step].counts[state];
      this.percent = overview.percent;
    }
  }
}

function showCounts(numbers) {
  for (let step = 0; step < numbers.steps; step += 1) {
    for (const state of STATES) {
      const count = numbers.count(step, state);
      for (const place of document.querySelectorAll(`[data-count="${step}-${state}"]`)) {
        write(`[data-count="${step}-${state}"]`, count);
        place.classList.toggle("zero", count === 0);
      }
    }
  }
  for (const state of STATES) {
    const total = numbers.total(state);
    write(`[data-total="${state}"]`, total);
    for (const place of document.querySelectorAll(`[data-total="${state}"]`)) place.parentNode.classList.toggle("zero", !total);
  }
  write("[data-all]", numbers.tasks);
  write("[data-done]", `${numbers.percent.toFixed(1)} %`);
}

function showBar(numbers) {
  let left = 0;
  for (const state of ["done", "running", "submitted", "waiting", "failed", "cancelled"]) {
    const bar = document.querySelector(`#bar .b-${state}`);
    const width = numbers.tasks ? (numbers.total(state) / numbers.tasks) * 100 : 0;
    bar?.setAttribute("x", left.toFixed(3));
    bar?.setAttribute("width", width.toFixed(3));
    left += width;
  }
  const words = STATES.filter((state) => numbers.total(state)).map((state) => `${numbers.total(state).toLocaleString("en")} ${state}`);
  document.querySelector("#bar")?.setAttribute("aria-label", words.join(", ") || "nothing");
}

/** Rate and time left as the server reckons them; what is said in words is fetched again when it changes. */
function showOverview(run) {
  const rate = run.rate >= 60 ? `${(run.rate / 60).toFixed(1)} steps/s` : `${run.rate?.toFixed(1)} steps/min`;
  write("[data-rate]", run.rate ? rate : "–");
  const words = run.time_left.match(/^about [^:]+/)?.[0];
  write("[data-left]", words ?? "–");
  write("[data-why]", run.state === "active" ? `Time left ${run.time_left}.` : "");
  const told = JSON.stringify([run.state, run.paused, run.priority, ...run.steps.map((step) => step.held_back)]);
  const shown = document.querySelector("#overview").dataset.told;
  if (told !== JSON.stringify(JSON.parse(shown))) window.htmx?.trigger("#overview", "refresh");
}

if (grid) {
  let drawing = 0;
  let overview = null;
  const show = () => {
    drawing = 0;
    if (!grid.cells?.whole && !overview) return; // as the server wrote them
    const numbers = new Numbers(grid.cells, overview);
    showCounts(numbers);
    showBar(numbers);
  };
  grid.addEventListener("cells", () => (drawing ||= requestAnimationFrame(show)));
  customElements.whenDefined("status-grid").then(() => {
    grid.cells.addEventListener("overview", (event) => {
      overview = event.detail;
      showOverview(overview);
      if (!grid.cells.whole) show();
    });
  });
  document.addEventListener("htmx:afterSwap", () => {
    if (grid.cells) show();
    carryFilters(new URL(location.href));
  });

  const form = document.querySelector("#filters");
  const apply = () => {
    const data = new FormData(form);
    const url = new URL(location.href);
    for (const name of ["state", "step", "search"]) {
      if (data.get(name)) url.searchParams.set(name, data.get(name));
      else url.searchParams.delete(name);
    }
    url.searchParams.delete("from");
    history.replaceState(history.state, "", url);
    const step = data.get("step");
    grid.filter({ state: data.get("state"), step: step ? Number(step) : null, search: data.get("search") });
    carryFilters(url);
  };
  let typing = 0;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    apply();
  });
  form.addEventListener("change", apply);
  form.querySelector("[name=search]").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(apply, 250);
  });

  // Numbers in the table are links that filter: here without leaving the page.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("#overview a[data-filter]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const query = new URL(link.href).searchParams;
    form.elements.state.value = query.get("state") ?? "";
    form.elements.step.value = query.get("step") ?? "";
    apply();
    grid.grid.focus();
  });
}

// The buttons that act on what matches take the page's filters along.
function carryFilters(url) {
  for (const link of document.querySelectorAll("a[data-carry]")) {
    const target = new URL(link.href);
    for (const name of ["state", "step", "search"]) {
      if (name in link.dataset) continue;
      const value = url.searchParams.get(name);
      if (value) target.searchParams.set(name, value);
      else target.searchParams.delete(name);
    }
    link.href = target;
  }
}
