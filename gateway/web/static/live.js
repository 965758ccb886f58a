// Keeps the live regions of a page up to date while it is visible: `gateway/web/live.py`.
import { morph } from "./morph.js";

const AGAIN = 3000; // milliseconds before a lost connection is opened again

export function follow(enliven) {
  let source = null;
  let retry = 0;

  function open() {
    const page = location.pathname + location.search;
    source = new EventSource("/events?page=" + encodeURIComponent(page));
    source.addEventListener("region", (event) => {
      const { id, html } = JSON.parse(event.data);
      const region = document.getElementById(id);
      if (!region) return;
      morph(region, html);
      enliven(region);
    });
    source.addEventListener("open", () => tell(""));
    source.addEventListener("gone", () => {
      close();
      location.reload();
    });
    source.addEventListener("error", () => {
      close();
      tell("No connection to the gateway. This page may be out of date; it continues by itself.");
      retry = setTimeout(again, AGAIN);
    });
  }

  // After the gateway was away, or the session has ended: then the page is another one.
  async function again() {
    try {
      const answer = await fetch(location.href, { redirect: "manual" });
      if (answer.ok) show();
      else if (answer.status < 500) location.reload();
      else retry = setTimeout(again, AGAIN);
    } catch {
      retry = setTimeout(again, AGAIN);
    }
  }

  function tell(text) {
    document.getElementById("connection").textContent = text;
  }

  function close() {
    clearTimeout(retry);
    source?.close();
    source = null;
  }

  // A hidden page costs the gateway nothing.
  function show() {
    close();
    if (document.visibilityState === "visible") open();
  }

  document.addEventListener("visibilitychange", show);
  // The answer of the form is the next page, even where what this page shows is deleted by it.
  document.addEventListener("submit", (event) => event.defaultPrevented || close());
  addEventListener("pagehide", close);
  addEventListener("pageshow", show);
}
