// The editor of a file: Ctrl+S saves, Enter keeps the indentation, Tab indents where Escape was not
// pressed before, and a page with unsaved text asks before it is left.

export function watchEditors(root) {
  for (const form of root.querySelectorAll("[data-editor]")) start(form);
}

function start(form) {
  const area = form.elements.text;
  const saved = area.defaultValue;
  let leaving = false;
  let sent = false;
  form.addEventListener("submit", () => (sent = true));
  form.addEventListener("keydown", (event) => {
    if (event.key === "s" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    } else if (event.key === "Escape") {
      leaving = true; // so that the keyboard leads out of the text
    } else if (event.key === "Tab" && event.target === area && !leaving && !event.shiftKey) {
      event.preventDefault();
      insert("    ");
    } else if (event.key === "Enter" && event.target === area && !event.isComposing) {
      event.preventDefault();
      insert("\n" + indentation(area.value.slice(0, area.selectionStart)));
    } else {
      leaving = false;
    }
  });
  addEventListener("beforeunload", (event) => {
    if (!sent && area.value !== saved) event.preventDefault();
  });
}

// Puts a text where the caret is, as if it was typed: so Ctrl+Z takes it back.
function insert(text) {
  document.execCommand("insertText", false, text);
}

// The indentation of the line after this text: that of its last line, and a step more after a colon.
function indentation(text) {
  const line = text.slice(text.lastIndexOf("\n") + 1);
  return line.match(/^[ \t]*/)[0] + (/:[ \t]*$/.test(line) ? "    " : "");
}
