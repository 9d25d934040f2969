// Times come from the server in UTC. This shows them in the reader's zone, or as "3 minutes ago" with the exact time as a tooltip.
const UNITS = [["year", 31_536_000], ["month", 2_592_000], ["day", 86_400], ["hour", 3_600], ["minute", 60]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const exact = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

function ago(date, now) {
  const seconds = Math.round((date - now) / 1000);
  for (const [unit, length] of UNITS) {
    if (Math.abs(seconds) >= length) return relative.format(Math.trunc(seconds / length), unit);
  }
  return Math.abs(seconds) < 10 ? "just now" : relative.format(seconds, "second");
}

function show() {
  const now = Date.now();
  for (const element of document.querySelectorAll("time[data-time]")) {
    const date = new Date(element.dateTime);
    if (Number.isNaN(date.getTime())) continue;
    const full = exact.format(date);
    element.title = full;
    element.textContent = element.dataset.time === "ago" ? ago(date, now) : full;
  }
}

show();
setInterval(show, 30_000);
