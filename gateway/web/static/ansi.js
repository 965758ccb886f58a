// ANSI escape sequences: colours become classes of the style sheet, all others are left out.

const COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
// Sequences of colour (`m`), other control sequences, titles of windows, and the rest.
const ESCAPES = /(\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\^_()])/;

// The parts of a line as elements. `styles` holds the classes that a line leaves to the next one.
export function* coloured(line, styles) {
  for (const part of line.split(ESCAPES)) {
    const code = /^\x1b\[([0-9;]*)m$/.exec(part);
    if (code) change(styles, code[1].split(";").map(Number));
    else if (part && !part.startsWith("\x1b")) {
      const element = document.createElement("span");
      element.textContent = part;
      if (styles.length) element.className = styles.join(" ");
      yield element;
    }
  }
}

function change(styles, numbers) {
  for (let at = 0; at < numbers.length; at++) {
    const number = numbers[at];
    if (number === 0) styles.length = 0;
    else if (number === 1) put(styles, "bold", "bold");
    else if (number === 2) put(styles, "dim", "dim");
    else if (number === 22) drop(styles, /^(bold|dim)$/);
    else if (number === 39) drop(styles, /^ansi-/);
    else if (number >= 30 && number <= 37) put(styles, "ansi-", `ansi-${COLOURS[number - 30]}`);
    else if (number >= 90 && number <= 97) put(styles, "ansi-", `ansi-${COLOURS[number - 90]}`);
    else if (number === 38 || number === 48) at += numbers[at + 1] === 5 ? 2 : 4; // of 256, or RGB
  }
}

function put(styles, kind, name) {
  drop(styles, new RegExp(`^${kind}`));
  styles.push(name);
}

function drop(styles, kind) {
  styles.splice(0, styles.length, ...styles.filter((each) => !kind.test(each)));
}
