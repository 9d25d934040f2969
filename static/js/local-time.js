// Times come from the server in UTC. This shows them in the reader's zone, or in UTC if they have chosen that, or as "3 minutes ago" with the
// exact time as a tooltip. Without this script they stay in UTC, and say so. Keeps the buttons of the menu in step.
import { chosen, choose, format, zoneName } from "./zone.js";

const UNITS = [["year", 31_536_000], ["month", 2_592_000], ["day", 86_400], ["hour", 3_600], ["minute", 60]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const STYLES = {
  exact: { dateStyle: "medium", timeStyle: "medium" },
  minute: { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" },
};

function ago(date, now) {
  const seconds = Math.round((date - now) / 1000);
  for (const [unit, length] of UNITS) {
    if (Math.abs(seconds) >= length) return relative.format(Math.trunc(seconds / length), unit);
  }
  return Math.abs(seconds) < 10 ? "just now" : relative.format(seconds, "second");
}

function show() {
  const now = Date.now();
  // In the reader's own zone nobody has to be told which it is.
  const zone = chosen() === "utc" ? " UTC" : "";
  const full = format(STYLES.exact);
  const short = format(STYLES.minute);
  for (const element of document.querySelectorAll("time[data-time]")) {
    const date = new Date(element.dateTime);
    if (Number.isNaN(date.getTime())) continue;
    element.title = `${full(date)} (${zoneName()})`;
    const style = element.dataset.time;
    if (style === "ago") element.textContent = ago(date, now);
    else element.textContent = (style === "minute" ? short(date) : full(date)) + zone;
  }
}

function mark() {
  for (const button of document.querySelectorAll("[data-zone-choice] button")) {
    button.setAttribute("aria-pressed", String(button.value === chosen()));
    if (button.value === "") button.title = `Times in your zone (${Intl.DateTimeFormat().resolvedOptions().timeZone})`;
  }
}

for (const group of document.querySelectorAll("[data-zone-choice]")) {
  group.hidden = false;
  group.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) choose(button.value);
  });
}
document.addEventListener("zonechange", () => {
  mark();
  show();
});
document.addEventListener("timesadded", show);
mark();
show();
setInterval(show, 30_000);
