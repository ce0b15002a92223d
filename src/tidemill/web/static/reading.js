// What operators' pages and the portal's have alike: times that stay current, and `/` for the search field.

const SPANS = [[60, 1, "s"], [3600, 60, "min"], [86_400, 3600, "h"], [Infinity, 86_400, "days"]];

export function showAges() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const age = Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000);
    const [, unit, word] = SPANS.find(([limit]) => age < limit);
    const count = Math.floor(age / unit);
    const text = age < 5 ? "just now" : `${count} ${word === "days" && count === 1 ? "day" : word} ago`;
    if (time.textContent !== text) time.textContent = text;
  }
}
showAges();
setInterval(showAges, 5000);

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  const search = document.querySelector("main [name=search]");
  if (!search) return;
  event.preventDefault();
  search.focus();
  search.select();
});
