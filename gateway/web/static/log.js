// A log pane: lines of a stream of the API, with ANSI colours, as text only. A line that a progress
// bar overwrites is folded to its last state. Following stops when one scrolls up.

const MOST_LINES = 10_000;
const COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

export function followLogs(root) {
  for (const pane of root.querySelectorAll("[data-log]")) {
    if (!pane.dataset.begun) start(pane);
  }
}

function start(pane) {
  pane.dataset.begun = "yes";
  const text = pane.querySelector("pre");
  const box = pane.querySelector("[data-log-follow]");
  let source = null;
  let ended = false;

  text.addEventListener("scroll", () => {
    const atEnd = text.scrollHeight - text.scrollTop - text.clientHeight < 30;
    if (box && box.checked !== atEnd) box.checked = atEnd;
  });

  function open() {
    if (source || ended || document.visibilityState !== "visible" || !pane.isConnected) return;
    text.replaceChildren();
    source = new EventSource(pane.dataset.log);
    for (const kind of ["line", "preparing"]) {
      source.addEventListener(kind, (event) => add(JSON.parse(event.data)));
    }
    source.addEventListener("end", () => {
      ended = true;
      close();
    });
  }

  function close() {
    source?.close();
    source = null;
  }

  function add(line) {
    const element = document.createElement("span");
    const { text: content, stream, at, replica } = typeof line === "string" ? { text: line } : line;
    element.className = `line ${stream ?? ""}`;
    if (at) element.title = [at, replica].filter(Boolean).join(" ");
    element.append(...coloured(content.slice(content.lastIndexOf("\r", content.length - 2) + 1)), "\n");
    text.append(element);
    while (text.childElementCount > MOST_LINES) text.firstElementChild.remove();
    if (box?.checked) text.scrollTop = text.scrollHeight;
  }

  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") open();
    else close();
  });
  addEventListener("pagehide", close);
  open();
}

// The parts of a line with their colours, without other escape sequences.
function* coloured(line) {
  let classes = [];
  for (const part of line.split(/(\x1b\[[0-9;?]*[A-Za-z])/)) {
    const code = /^\x1b\[([0-9;]*)m$/.exec(part);
    if (code) {
      for (const number of code[1].split(";").map(Number)) {
        if (number === 0) classes = [];
        else if (number === 1) classes.push("bold");
        else if (number >= 30 && number <= 37) classes.push(`ansi-${COLOURS[number - 30]}`);
        else if (number >= 90 && number <= 97) classes.push(`ansi-${COLOURS[number - 90]}`);
        else if (number === 39) classes = classes.filter((each) => !each.startsWith("ansi-"));
      }
    } else if (part && !part.startsWith("\x1b[")) {
      const element = document.createElement("span");
      element.textContent = part;
      element.className = classes.join(" ");
      yield element;
    }
  }
}
