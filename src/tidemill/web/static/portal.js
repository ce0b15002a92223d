// What the portal's pages have besides HTML: copying, filters that fold.

import { showAges } from "./reading.js";

// Browsers give the clipboard to pages that came over HTTPS alone; elsewhere the old way still works.
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = Object.assign(document.createElement("textarea"), { value: text });
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (!done) throw new Error("not copied");
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const was = button.dataset.was ?? (button.dataset.was = button.textContent);
  try {
    await copy(button.dataset.copy);
    button.textContent = "Copied ✓";
  } catch {
    button.textContent = "Select it instead";
  }
  button.focus();
  setTimeout(() => { button.textContent = was; }, 2000);
});

// How many rows are ticked stands on the button that takes them; one box ticks the whole page, Shift ticks a stretch.
let last = null;
function ticks() {
  return [...document.querySelectorAll("input.tick[name]")];
}
function showTicks() {
  const all = ticks();
  const chosen = all.filter((box) => box.checked).length;
  const button = document.querySelector("#gathering [data-count]");
  if (button) button.textContent = chosen ? button.dataset.count.replace("{}", chosen.toLocaleString("en")) : button.dataset.none;
  const whole = document.querySelector("[data-tick-all]");
  if (whole) {
    whole.checked = chosen > 0 && chosen === all.length;
    whole.indeterminate = chosen > 0 && chosen < all.length;
  }
}
document.addEventListener("click", (event) => {
  const box = event.target.closest?.("input.tick");
  if (!box) return;
  const all = ticks();
  if (!box.name) for (const one of all) one.checked = box.checked;
  else if (event.shiftKey && all.includes(last)) {
    const [from, to] = [all.indexOf(last), all.indexOf(box)].sort((a, b) => a - b);
    for (const one of all.slice(from, to + 1)) one.checked = box.checked;
  }
  last = box.name ? box : null;
  showTicks();
});
addEventListener("pageshow", showTicks);

// On a narrow screen the filters begin folded; whoever opened them finds them open after the next choice.
const narrow = matchMedia("(max-width: 820px)");
let unfolded = false;
function fold() {
  const filters = document.querySelector("details.narrow");
  if (filters) filters.open = narrow.matches ? unfolded : true;
}
document.addEventListener("toggle", (event) => {
  if (event.target.matches?.("details.narrow") && narrow.matches) unfolded = event.target.open;
}, true);
narrow.addEventListener("change", fold);

// A list that came anew says so to those who hear the page, and keeps what a person had opened.
let opened = [];
document.addEventListener("htmx:beforeSwap", (event) => {
  const { target } = event.detail;
  opened = [...target.querySelectorAll("details[id]")].map((part) => [part.id, part.open]);
});
document.addEventListener("htmx:afterSwap", () => {
  for (const [id, open] of opened) {
    const part = document.getElementById(id);
    if (part) part.open = open;
  }
  opened = [];
  fold();
  showTicks();
  showAges();
  const heard = document.getElementById("heard");
  if (heard) heard.textContent = document.querySelector("[data-hear]")?.textContent.replace(/\s+/g, " ").trim() ?? "";
});

const search = document.querySelector("#search");
if (search && matchMedia("(hover: hover)").matches) search.placeholder = "press / to search";
fold();
