// <mmif-tree>: opens and closes a document's tree at once, remembers in the URL what is open, and finds words in it.
// The tree itself is plain <details> from the server, which works without this.

class MmifTree extends HTMLElement {
  connectedCallback() {
    const bar = document.createElement("div");
    bar.className = "tree-bar";
    bar.append(this.#button("Open all", true), this.#button("Close all", false));
    this.prepend(bar);
    if (location.hash) this.querySelector(`#${CSS.escape(location.hash.slice(1))}`)?.setAttribute("open", "");
    this.addEventListener("toggle", (event) => this.#toggled(event), true);
  }

  #button(label, open) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "small quiet";
    button.textContent = label;
    button.addEventListener("click", () => {
      for (const part of this.querySelectorAll("details")) part.open = open;
    });
    return button;
  }

  #toggled(event) {
    if (event.target.open && event.target.id) history.replaceState(history.state, "", `#${event.target.id}`);
  }
}

customElements.define("mmif-tree", MmifTree);
