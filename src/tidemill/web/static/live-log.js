// <live-log src="…/log">: shows what an attempt says while it says it, and how far it is. It asks for what is new every
// second, and stops when the attempt has ended. Whoever has scrolled up stays there.

const EVERY = 1000;
const LONGEST_WAIT = 15_000;
const MOST = 1_000_000; // characters that stay on the page

class LiveLog extends HTMLElement {
  #next = 0;
  #timer = 0;
  #wait = EVERY;

  connectedCallback() {
    this.#ask();
  }

  disconnectedCallback() {
    clearTimeout(this.#timer);
  }

  async #ask() {
    try {
      const answer = await fetch(`${this.getAttribute("src")}?since=${this.#next}`);
      if (!answer.ok) throw new Error(answer.statusText);
      this.#show(await answer.text(), answer.headers);
      this.#wait = EVERY;
      if (answer.headers.get("x-log-live") !== "true") return this.#end(answer.headers.get("x-log-state"));
    } catch {
      this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
    }
    if (this.isConnected) this.#timer = setTimeout(() => this.#ask(), this.#wait);
  }

  #show(text, headers) {
    const bar = this.querySelector("progress");
    const far = headers.get("x-log-progress");
    bar.hidden = far === null;
    if (far !== null) bar.value = Number(far);
    const next = Number(headers.get("x-log-next") ?? 0);
    if (next < this.#next) this.querySelector("pre").textContent = "";
    this.#next = next;
    if (!text) return;
    const pre = this.querySelector("pre");
    const follows = pre.hidden || pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 8;
    pre.hidden = false;
    this.querySelector("[data-quiet]")?.remove();
    pre.append(text);
    pre.normalize();
    if (pre.textContent.length > MOST) pre.textContent = pre.textContent.slice(-MOST);
    if (follows) pre.scrollTop = pre.scrollHeight;
  }

  #end(state) {
    this.dataset.ended = state;
    this.querySelector("progress").hidden = true;
    const said = document.createElement("p");
    said.className = "soft";
    said.textContent = `It has ended: ${state}.`;
    this.append(said);
  }
}

customElements.define("live-log", LiveLog);
