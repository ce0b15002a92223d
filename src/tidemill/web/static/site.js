// What every page of operators has: confirmations in a dialog, and the live line.

import { live } from "./live.js";
import { showAges } from "./reading.js";

// A link marked data-dialog opens its page's form in a dialog; without JavaScript it is a page of its own.
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-dialog]");
  const dialog = document.querySelector("#dialog");
  if (!link || !dialog || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  try {
    const answer = await fetch(link.href, { headers: { accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const form = page.querySelector(".confirm");
    if (!form) return location.assign(link.href);
    dialog.replaceChildren(document.adoptNode(form));
    dialog.showModal();
    dialog.querySelector("[autofocus], button, select, input")?.focus();
  } catch {
    location.assign(link.href);
  }
});
document.addEventListener("click", (event) => {
  const cancel = event.target.closest("#dialog a[data-close]");
  if (!cancel) return;
  event.preventDefault();
  cancel.closest("dialog").close();
});

// A form marked data-auto asks again when a choice in it changes (its preview depends on it).
document.addEventListener("change", async (event) => {
  const form = event.target.closest("form[data-auto]");
  if (!form || !event.target.matches("[data-preview]")) return;
  const url = new URL(form.dataset.auto, location.href);
  for (const [name, value] of new FormData(form)) if (value) url.searchParams.set(name, value);
  const answer = await fetch(url, { headers: { accept: "text/html" } });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const old = form.querySelector("[data-previewed]");
  const fresh = page.querySelector("[data-previewed]");
  if (old && fresh) old.replaceWith(document.adoptNode(fresh));
});

// Parts of a page that follow the list of runs: htmx fetches them again, at most every second or two.
if (document.querySelector("[data-live-runs]")) {
  let waiting = 0;
  live.watch("runs", () => ({ runs: true }), () => {
    waiting ||= setTimeout(() => {
      waiting = 0;
      for (const part of document.querySelectorAll("[data-live-runs]")) window.htmx?.trigger(part, "refresh");
    }, 1000);
  });
}

// A part that is fetched again and says the same is left alone; one that differs keeps open what a person had opened.
const said = (part) => {
  const copy = part.cloneNode(true);
  for (const time of copy.querySelectorAll("time")) time.remove();
  return copy.textContent.replace(/\s+/g, " ");
};
let opened = [];
document.addEventListener("htmx:beforeSwap", (event) => {
  const { target, serverResponse, isError } = event.detail;
  if (isError || !target.id) return;
  const fresh = new DOMParser().parseFromString(serverResponse, "text/html").getElementById(target.id);
  if (fresh && said(fresh) === said(target)) event.detail.shouldSwap = false;
  else opened = [...target.querySelectorAll("details[id]")].map((part) => [part.id, part.open]);
});
document.addEventListener("htmx:afterSwap", () => {
  for (const [id, open] of opened) {
    const part = document.getElementById(id);
    if (part) part.open = open;
  }
  opened = [];
  showAges();
});
