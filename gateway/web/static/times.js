// Times as "3 min ago", and on hover the exact one in the viewer's zone.

const STEPS = [[60, "second"], [60, "minute"], [24, "hour"], [30, "day"], [12, "month"], [Infinity, "year"]];
// "now" and "tomorrow", but not "next yr.": a key expires in 1 yr.
const words = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });
const numbers = new Intl.RelativeTimeFormat(undefined, { style: "short" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

export function showTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const time = new Date(element.dateTime);
    if (isNaN(time)) continue;
    element.title = exact.format(time);
    element.textContent = relative((time - Date.now()) / 1000);
  }
}

function relative(seconds) {
  let value = seconds;
  for (const [size, unit] of STEPS) {
    if (Math.abs(value) < size) return (unit === "month" || unit === "year" ? numbers : words).format(Math.round(value), unit);
    value /= size;
  }
}
