// Keeps a run's numbers current from the cells that the grid holds: counts per step, bar, rate and time left.

import { STATES } from "./run-cells.js";

const write = (selector, value) => {
  for (const place of document.querySelectorAll(selector)) {
    const text = typeof value === "number" ? value.toLocaleString("en") : value;
    if (place.textContent !== text) place.textContent = text;
  }
};

const grid = document.querySelector("status-grid");

function showCounts(cells) {
  for (let step = 0; step < cells.steps; step += 1) {
    const past = cells.past(step);
    STATES.forEach((state, number) => {
      const count = state === "done" ? past : cells.counts[step][number];
      for (const place of document.querySelectorAll(`[data-count="${step}-${state}"]`)) {
        write(`[data-count="${step}-${state}"]`, count);
        place.classList.toggle("zero", count === 0);
      }
    });
  }
  for (const state of STATES) {
    write(`[data-total="${state}"]`, cells.total(state));
    for (const place of document.querySelectorAll(`[data-total="${state}"]`)) place.parentNode.classList.toggle("zero", !cells.total(state));
  }
}

function showBar(cells) {
  let left = 0;
  for (const state of ["done", "running", "submitted", "waiting", "failed", "cancelled"]) {
    const bar = document.querySelector(`#bar .b-${state}`);
    const width = cells.tasks ? (cells.total(state) / cells.tasks) * 100 : 0;
    bar?.setAttribute("x", left.toFixed(3));
    bar?.setAttribute("width", width.toFixed(3));
    left += width;
  }
  const words = STATES.filter((state) => cells.total(state)).map((state) => `${cells.total(state).toLocaleString("en")} ${state}`);
  document.querySelector("#bar")?.setAttribute("aria-label", words.join(", ") || "nothing");
}

function showPercent(cells) {
  const steps = cells.tasks * cells.steps;
  const left = cells.stepsLeft();
  write("[data-done]", `${left ? (Math.floor(((steps - left) * 1000) / steps) / 10).toFixed(1) : "100.0"} %`);
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
  const show = () => {
    drawing = 0;
    showCounts(grid.cells);
    showBar(grid.cells);
    showPercent(grid.cells);
  };
  grid.addEventListener("cells", () => (drawing ||= requestAnimationFrame(show)));
  customElements.whenDefined("status-grid").then(() => {
    grid.cells.addEventListener("overview", (event) => showOverview(event.detail));
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
