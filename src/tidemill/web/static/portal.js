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
// What is ticked stays while the pages of a list are turned, in whatever order it is: a list is its filters and its search.
let last = null;
const SENT = "tidemill-sent";
function ticks() {
  return [...document.querySelectorAll("input.tick[name]")];
}
function listName() {
  const form = document.querySelector("#gathering");
  if (!form) return null;
  const asked = new URLSearchParams(form.elements.query.value);
  for (const name of ["page", "sort"]) asked.delete(name);
  return `tidemill-chosen ${form.elements.noun.value} ${asked}`;
}
// A browser may refuse to keep anything: then the ticks of this page are all that there are.
function kept() {
  try {
    return new Set(JSON.parse(sessionStorage.getItem(listName()) ?? "[]"));
  } catch {
    return new Set();
  }
}
function keep(chosen) {
  try {
    if (chosen.size) sessionStorage.setItem(listName(), JSON.stringify([...chosen]));
    else sessionStorage.removeItem(listName());
  } catch { /* see above */ }
}
function keepTicks() {
  const chosen = kept();
  for (const box of ticks()) chosen[box.checked ? "add" : "delete"](box.value);
  keep(chosen);
}
function elsewhere() {
  const here = new Set(ticks().map((box) => box.value));
  return [...kept()].filter((name) => !here.has(name));
}
function restoreTicks() {
  if (!listName()) return;
  const chosen = kept();
  for (const box of ticks()) box.checked = chosen.has(box.value);
  showTicks();
}
function showTicks() {
  const all = ticks();
  const here = all.filter((box) => box.checked).length;
  const others = elsewhere().length;
  const chosen = here + others;
  const button = document.querySelector("#gathering [data-count]");
  if (button) button.textContent = chosen ? button.dataset.count.replace("{}", chosen.toLocaleString("en")) : button.dataset.none;
  const told = document.querySelector("#gathering [data-elsewhere]");
  if (told) {
    told.hidden = !others;
    told.firstElementChild.textContent = others
      ? `${chosen.toLocaleString("en")} chosen, ${others.toLocaleString("en")} of them on other pages`
      : "";
  }
  const whole = document.querySelector("[data-tick-all]");
  if (whole) {
    whole.checked = here > 0 && here === all.length;
    whole.indeterminate = here > 0 && here < all.length;
  }
}
// What was sent is chosen no longer once the list says that it came in; where it was refused, or terms came between, it is.
function forgetSent() {
  try {
    const sent = sessionStorage.getItem(SENT);
    sessionStorage.removeItem(SENT);
    if (sent && sent === listName() && document.querySelector("#main > .notice.good")) sessionStorage.removeItem(sent);
  } catch { /* see above */ }
}
document.addEventListener("submit", (event) => {
  if (event.target.id !== "gathering" || event.submitter?.value !== "chosen") return;
  for (const old of event.target.querySelectorAll("input[data-from-elsewhere]")) old.remove();
  for (const value of elsewhere()) {
    const field = Object.assign(document.createElement("input"), { type: "hidden", name: "name", value });
    field.dataset.fromElsewhere = "";
    event.target.append(field);
  }
  try {
    sessionStorage.setItem(SENT, listName());
  } catch { /* see above */ }
});
document.addEventListener("click", (event) => {
  if (!event.target.closest?.("button[data-untick]")) return;
  keep(new Set());
  restoreTicks();
});
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
  keepTicks();
  showTicks();
});
addEventListener("pageshow", restoreTicks);

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
  restoreTicks();
  showAges();
  const heard = document.getElementById("heard");
  if (heard) heard.textContent = document.querySelector("[data-hear]")?.textContent.replace(/\s+/g, " ").trim() ?? "";
});

const search = document.querySelector("#search");
if (search && matchMedia("(hover: hover)").matches) search.placeholder = "press / to search";
fold();
forgetSent();
restoreTicks();
