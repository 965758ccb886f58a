// Short messages at the edge of the page, read aloud by screen readers.

export function notice(text, tone = "") {
  const element = document.createElement("p");
  element.textContent = text;
  element.className = `notice ${tone}`;
  document.getElementById("notices").append(element);
  setTimeout(() => element.remove(), 6000);
}
