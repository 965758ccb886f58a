// A log pane: lines of a stream of the API, with ANSI colours, as text only. A line that a progress
// bar overwrites is folded to its last state. New lines come at the end or, newest first, at the
// top. Following stops when one scrolls away from them, and continues there. A hidden page follows
// nothing; a stream that breaks is read again from its first line.
import { coloured } from "./ansi.js";

const MOST_LINES = 10_000;
const AGAIN = 3000; // milliseconds before a stream that was refused is asked for again
const panes = new Set();

export function followLogs(root) {
  for (const pane of panes) if (!pane.element.isConnected) pane.end();
  for (const element of root.querySelectorAll("[data-log]")) {
    if (element.dataset.begun) continue;
    element.dataset.begun = "yes";
    panes.add(new Pane(element));
  }
}

document.addEventListener("visibilitychange", () => {
  for (const pane of panes) {
    if (document.visibilityState === "visible") pane.open();
    else pane.close();
  }
});
addEventListener("pagehide", () => {
  for (const pane of panes) pane.close();
});
addEventListener("pageshow", () => {
  for (const pane of panes) pane.open();
});

class Pane {
  constructor(element) {
    this.element = element;
    this.text = element.querySelector("pre");
    this.box = element.querySelector("[data-log-follow]");
    this.isNewestFirst = "logNewestFirst" in element.dataset;
    this.source = null;
    this.waiting = []; // lines that came since the last picture
    this.isEnded = false;
    this.text.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.text;
      const distance = this.isNewestFirst ? scrollTop : scrollHeight - scrollTop - clientHeight;
      if (this.box) this.box.checked = distance < 30;
    });
    this.box?.addEventListener("change", () => this.follow());
    this.open();
  }

  open() {
    if (this.source || this.isEnded || document.visibilityState !== "visible") return;
    this.source = new EventSource(this.element.dataset.log);
    this.source.addEventListener("open", () => {
      this.waiting = [];
      this.styles = [];
      this.text.replaceChildren();
    });
    const only = this.element.dataset.logEvent;
    for (const kind of only ? [only] : ["line", "preparing"]) {
      this.source.addEventListener(kind, (event) => this.take(JSON.parse(event.data)));
    }
    this.source.addEventListener("end", () => {
      this.isEnded = true;
      this.close();
    });
    this.source.addEventListener("error", () => {
      if (this.source?.readyState !== EventSource.CLOSED) return; // the browser tries again
      this.close();
      setTimeout(() => panes.has(this) && this.open(), AGAIN);
    });
  }

  close() {
    this.source?.close();
    this.source = null;
  }

  end() {
    this.close();
    panes.delete(this);
  }

  // Thousands of lines a second are put in together.
  take(line) {
    if (this.waiting.push(line) === 1) requestAnimationFrame(() => this.show());
    if (this.waiting.length > MOST_LINES) this.waiting.shift();
  }

  show() {
    const lines = this.waiting.map((line) => this.elementOf(line)); // in the order of their colours
    this.waiting = [];
    if (this.isNewestFirst) this.text.prepend(...lines.reverse());
    else this.text.append(...lines);
    while (this.text.childElementCount > MOST_LINES) {
      (this.isNewestFirst ? this.text.lastElementChild : this.text.firstElementChild).remove();
    }
    this.follow();
  }

  follow() {
    if (!(this.box?.checked ?? true)) return;
    this.text.scrollTop = this.isNewestFirst ? 0 : this.text.scrollHeight;
  }

  elementOf(line) {
    const element = document.createElement("span");
    const { text, stream, at, replica } = typeof line === "string" ? { text: line } : line;
    element.className = `line ${stream ?? ""}`;
    if (at) element.append(timeOf(at, replica), " ");
    element.append(...coloured(lastState(text), this.styles), "\n");
    return element;
  }
}

// The time of a line in the viewer's zone; the day, the zone and the replica on hover.
function timeOf(at, replica) {
  const element = document.createElement("span");
  const when = new Date(at);
  element.className = "at";
  element.textContent = when.toLocaleTimeString();
  element.title = [when.toLocaleString(undefined, { timeZoneName: "short" }), replica].filter(Boolean).join(" ");
  return element;
}

// What is left of a line after its carriage returns.
function lastState(text) {
  return text.slice(text.lastIndexOf("\r", text.length - 2) + 1).replace(/\r$/, "");
}
