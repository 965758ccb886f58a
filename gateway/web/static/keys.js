// Keys: `/` to the search, `g p` to the projects, `g m` to the models, `?` lists them.
import { notice } from "./notices.js";

const PLACES = { p: "/projects", m: "/models", h: "/", s: "/settings" };
const WITHIN = 1000; // milliseconds between the two keys

export function listenForKeys() {
  let began = 0;
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      document.querySelector("[data-shortcut='/']")?.focus();
    } else if (event.key === "?") {
      notice("Keys: / search · g h home · g p projects · g m models · g s settings");
    } else if (event.key === "g") {
      began = event.timeStamp;
    } else if (event.timeStamp - began < WITHIN && event.key in PLACES) {
      location.href = PLACES[event.key];
    }
  });
}
