// Forms whose buttons change a part of the page: the button's `data-into` is the id of that part,
// which the script takes from the page that the form's answer is. Without scripts that page is shown.

export function sendInPlace(root, enliven) {
  for (const form of root.querySelectorAll("form[data-in-place]")) {
    if (form.dataset.begun) continue;
    form.dataset.begun = "yes";
    form.addEventListener("submit", (event) => {
      const into = event.submitter?.dataset.into;
      if (!into) return;
      event.preventDefault();
      send(form, event.submitter, into, enliven);
    });
    form.addEventListener("change", (event) => {
      const filled = [...form.querySelectorAll("[data-rechecks]")].every((field) => field.value);
      if (event.target.matches("[data-rechecks]") && filled) form.requestSubmit(form.querySelector("[data-checks]"));
    });
  }
}

async function send(form, button, into, enliven) {
  const part = document.getElementById(into);
  const body = new URLSearchParams(new FormData(form, button));
  const busy = document.createElement("p");
  busy.className = "busy-note";
  busy.textContent = button.dataset.busy ?? "";
  if (busy.textContent) button.parentElement.after(busy);
  part.setAttribute("aria-busy", "true");
  if (button.dataset.lines !== undefined) followLines(body, busy, enliven);
  const turn = (part.dataset.turn = String(Number(part.dataset.turn ?? 0) + 1));
  const focused = document.activeElement?.id;
  const at = button.textContent;
  try {
    const answer = await fetch(form.action, { method: "POST", body });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById(into);
    const now = document.getElementById(into);
    if (now?.dataset.turn !== turn) return; // a later answer is awaited
    if (!fresh) return location.reload(); // the session has ended
    fresh.dataset.turn = turn;
    now.replaceWith(fresh);
    enliven(fresh.parentElement);
    if (now.contains(button)) [...fresh.querySelectorAll("button")].find((each) => each.textContent === at)?.focus();
    else if (focused) document.getElementById(focused)?.focus();
  } catch {
    busy.textContent = "The gateway does not answer.";
    button.parentElement.after(busy);
    part.removeAttribute("aria-busy");
  }
}

// The lines that are printed until the answer is there: the gateway knows them by a name.
function followLines(body, after, enliven) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const name = [...bytes].map((each) => each.toString(16).padStart(2, "0")).join("");
  body.set("try", name);
  const pane = document.createElement("div");
  const text = document.createElement("pre");
  pane.className = "log trying";
  pane.dataset.log = `/events?try=${name}`;
  text.tabIndex = 0;
  text.setAttribute("role", "log");
  text.setAttribute("aria-label", "Log of the try");
  pane.append(text);
  after.after(pane);
  enliven(pane.parentElement);
}
