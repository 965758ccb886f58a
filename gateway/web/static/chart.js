// Charts that the server has drawn: `gateway/web/charts.py`. The values under the pointer are in a
// box beside it; a drag over a time axis loads the page for that window; times are the viewer's.

const MINUTE = 60_000;
const DAY = 86_400_000;
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export function showChartTimes(root) {
  for (const figure of root.querySelectorAll("[data-chart]")) {
    const ticks = [...figure.querySelectorAll("text[data-time]")];
    const step = ticks.length > 1 ? ticks[1].dataset.time - ticks[0].dataset.time : MINUTE;
    const day = { day: "numeric", month: "short" };
    const time = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
    const short = new Intl.DateTimeFormat(undefined, step >= DAY ? day : step >= MINUTE ? time : { ...time, second: "2-digit" });
    for (const tick of ticks) tick.textContent = short.format(Number(tick.dataset.time));
    for (const cell of figure.querySelectorAll("th[data-time]")) cell.textContent = exact.format(Number(cell.dataset.time));
  }
}

export function watchCharts() {
  const tip = box("chart-tip");
  const line = box("chart-cross");
  let drag = null; // where a drag began: its figure and fraction of the width

  document.addEventListener("pointermove", (event) => {
    const found = drag ?? at(event);
    if (!found) return hide();
    const area = areaOf(found.figure);
    const { heads, at: places, series, time } = JSON.parse(found.figure.dataset.chart);
    if (!places.length) return hide();
    const nearest = closest(places, 1000 * fraction(event, area));
    const rows = series.map(([label, kind, texts]) => row(label, kind, texts[nearest]));
    const head = document.createElement("strong");
    head.textContent = time ? exact.format(heads[nearest]) : heads[nearest];
    tip.replaceChildren(head, ...rows);
    tip.hidden = line.hidden = false;
    const x = area.left + (area.width * places[nearest]) / 1000;
    const begin = drag ? area.left + area.width * drag.at : x;
    const end = drag ? area.left + area.width * fraction(event, area) : x;
    place(line, Math.min(begin, end), area.top, Math.max(1, Math.abs(end - begin)), area.height);
    const left = x + 14 + tip.offsetWidth > innerWidth ? x - 14 - tip.offsetWidth : x + 14;
    place(tip, Math.max(4, left), area.top + 8);
  });

  document.addEventListener("pointerdown", (event) => {
    const found = event.button === 0 && event.pointerType !== "touch" && at(event);
    if (!found || !JSON.parse(found.figure.dataset.chart).zoom) return;
    drag = { figure: found.figure, at: fraction(event, areaOf(found.figure)) };
    event.preventDefault(); // selects no text
  });

  document.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const { figure, at: begin } = drag;
    drag = null;
    const area = areaOf(figure);
    const [low, high] = JSON.parse(figure.dataset.chart).zoom;
    const edges = [begin, fraction(event, area)].sort((a, b) => a - b);
    if ((edges[1] - edges[0]) * area.width < 8) return hide();
    const query = new URLSearchParams(location.search);
    query.set("start_ms", Math.floor(low + edges[0] * (high - low)));
    query.set("end_ms", Math.ceil(low + edges[1] * (high - low)));
    location.search = query;
  });

  addEventListener("scroll", hide, { passive: true });
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    drag = null;
    hide();
  });

  function hide() {
    tip.hidden = line.hidden = true;
  }
}

// The chart whose picture is under the pointer.
function at(event) {
  const figure = event.target.closest?.("[data-chart]");
  if (!figure) return null;
  const { left, right, top, bottom } = areaOf(figure);
  const { clientX: x, clientY: y } = event;
  return x >= left - 4 && x <= right + 4 && y >= top && y <= bottom ? { figure } : null;
}

function areaOf(figure) {
  return figure.querySelector("svg").getBoundingClientRect();
}

function fraction(event, area) {
  return Math.min(1, Math.max(0, (event.clientX - area.left) / area.width));
}

function closest(places, wanted) {
  let best = 0;
  for (let n = 1; n < places.length; n++)
    if (Math.abs(places[n] - wanted) < Math.abs(places[best] - wanted)) best = n;
  return best;
}

function row(label, kind, text) {
  const element = document.createElement("div");
  const name = document.createElement("span");
  const value = document.createElement("b");
  name.className = kind;
  name.textContent = label;
  value.textContent = text;
  element.append(name, value);
  return element;
}

function box(name) {
  const element = document.createElement("div");
  element.className = name;
  element.hidden = true;
  element.setAttribute("aria-hidden", "true");
  document.body.append(element);
  return element;
}

// Set through the object model, which the policy for inline styles permits.
function place(element, left, top, width, height) {
  element.style.left = `${left}px`;
  element.style.top = `${top}px`;
  if (width !== undefined) element.style.width = `${width}px`;
  if (height !== undefined) element.style.height = `${height}px`;
}
