// The page's one WebSocket. Whoever wants news asks `live.watch`; the line comes back by itself after a cut, and every
// watch is asked for again with the position that its watcher has reached by then.

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;

class Live extends EventTarget {
  #socket = null;
  #watches = new Map();
  #wait = FIRST_WAIT;
  #timer = 0;
  status = "connecting";

  /** `ask()` gives the message to send at each (re)connection; `hear(message)` gets everything that arrives. */
  watch(name, ask, hear) {
    this.#watches.set(name, { ask, hear });
    if (this.#socket?.readyState === WebSocket.OPEN) this.#ask(name);
    else this.#connect();
  }

  /** Send a watch's question again, after its watcher has taken a new snapshot. */
  again(name) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#ask(name);
  }

  #ask(name) {
    const question = this.#watches.get(name).ask();
    if (question) this.#socket.send(JSON.stringify({ watch: question }));
  }

  #connect() {
    if (this.#socket && this.#socket.readyState <= WebSocket.OPEN) return;
    clearTimeout(this.#timer);
    const url = new URL("/live", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    this.#socket = socket;
    socket.addEventListener("open", () => this.#opened());
    socket.addEventListener("message", (event) => this.#heard(JSON.parse(event.data)));
    socket.addEventListener("close", () => this.#closed());
  }

  #opened() {
    this.#wait = FIRST_WAIT;
    this.#say("live");
    for (const name of this.#watches.keys()) this.#ask(name);
  }

  #heard(message) {
    for (const { hear } of this.#watches.values()) hear(message);
  }

  #closed() {
    this.#say("reconnecting");
    const wait = this.#wait * (0.5 + Math.random());
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
    this.#timer = setTimeout(() => this.#connect(), wait);
  }

  #say(status) {
    this.status = status;
    this.dispatchEvent(new CustomEvent("status", { detail: status }));
    for (const sign of document.querySelectorAll("[data-live]")) {
      sign.dataset.live = status;
      sign.querySelector("[data-live-word]").textContent = status === "live" ? "live" : "reconnecting…";
    }
  }
}

export const live = new Live();
