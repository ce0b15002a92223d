// The elements that a grid is made of.

const element = (tag, className, attributes = {}, text = "") => {
  const made = document.createElement(tag);
  made.className = className;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
};

/** A grid's parts, with one column for the name and one for each step. */
export function build(host) {
  const head = element("div", "g-row g-head", { role: "row", "aria-rowindex": "1" });
  head.append(element("div", "g-name", { role: "columnheader", "aria-colindex": "1" }, host.getAttribute("word")));
  host.steps.forEach((name, step) =>
    head.append(element("div", "g-cell", { role: "columnheader", "aria-colindex": step + 2, title: name }, name)),
  );
  const space = element("div", "g-space", { role: "presentation" });
  const viewport = element("div", "g-viewport", { role: "rowgroup", tabindex: "-1" });
  viewport.append(space);
  const header = element("div", "g-header", { role: "rowgroup" });
  header.append(head);
  const grid = element("div", "g-grid", {
    role: "grid", tabindex: "0", "aria-label": host.getAttribute("label"), "aria-colcount": host.steps.length + 1,
    "aria-readonly": "true",
  });
  grid.append(header, viewport);
  const empty = element("p", "g-empty", { role: "status" });
  const map = element("canvas", "g-map", { "aria-hidden": "true", title: "All items by state: click to jump" });
  const pages = element("nav", "pages g-pages", { "aria-label": "Parts of the run" });
  pages.hidden = true;
  return { header, map, grid, viewport, space, empty, pages };
}

/** An empty row of the grid. */
export function newRow(steps) {
  const row = element("div", "g-row", { role: "row" });
  const name = element("div", "g-name", { role: "rowheader", "aria-colindex": "1" });
  name.append(element("a", "", { tabindex: "-1" }));
  row.append(name);
  steps.forEach((_, step) => {
    const cell = element("div", "g-cell", { role: "gridcell", "aria-colindex": step + 2 });
    cell.append(element("span", "sign", { "aria-hidden": "true" }), element("span", "word"));
    row.append(cell);
  });
  return row;
}
