// The editor of a file: Ctrl+S saves, Tab indents where Escape was not pressed before, and a page
// with unsaved text asks before it is left.

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
      area.setRangeText("    ", area.selectionStart, area.selectionEnd, "end");
    } else {
      leaving = false;
    }
  });
  addEventListener("beforeunload", (event) => {
    if (!sent && area.value !== saved) event.preventDefault();
  });
}
