// In which zone times are shown: "" is the reader's own, "utc" is UTC. Kept in the browser; told to this page by "zonechange".
const KEY = "trunkline-zone";

let zone = read();

function read() {
  try {
    return localStorage.getItem(KEY) === "utc" ? "utc" : "";
  } catch {
    return "";
  }
}

function apply(next) {
  if (next === zone) return;
  zone = next;
  document.dispatchEvent(new Event("zonechange"));
}

export const chosen = () => zone;

export function choose(next) {
  try {
    if (next === "utc") localStorage.setItem(KEY, next);
    else localStorage.removeItem(KEY);
  } catch {
    // Private mode: the choice holds for this page.
  }
  apply(next === "utc" ? "utc" : "");
}

export const zoneName = () => (zone === "utc" ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone);

// A function that writes moments in that style.
export function format(style) {
  const formatter = new Intl.DateTimeFormat("en-GB", { ...style, ...(zone === "utc" ? { timeZone: "UTC" } : {}) });
  return (date) => formatter.format(date);
}

addEventListener("storage", (event) => event.key === KEY && apply(read()));
