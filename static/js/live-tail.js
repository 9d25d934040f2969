// Keeps the first page of the log live: asks for the newest calls that fit, and puts those that are not there yet into their places.
// A call is written when it ends and named by when it began, so what comes late belongs further down; a place in a queue would miss it.
// Pauses while the page is hidden, by the button, and by the key `p`. Without this script the page has a link that loads it again.
const EVERY_MS = 3000;
const LONGEST_MS = 30_000;
// Rows that the page holds at most; what goes at the end is on the next page.
const MOST_ROWS = 200;

const tail = document.querySelector("[data-tail]");
const body = document.querySelector("[data-calls]");
const toggle = tail?.querySelector("[data-tail-toggle]");
const word = tail?.querySelector("[data-tail-word]");
const told = tail?.querySelector("[data-tail-told]");

let paused = false;
let known = "";
let wait = EVERY_MS;
let timer;
let asking;

const keyOf = (row) => row.dataset.call;
const say = (text, state) => {
  word.textContent = text;
  tail.dataset.tailState = state;
};

function merge(rows) {
  const there = new Map([...body.rows].map((row) => [keyOf(row), row]));
  const fresh = rows.filter((row) => !there.has(keyOf(row)));
  if (fresh.length === rows.length && there.size > 0) {
    // More came than one answer has: a gap in the list would look like silence.
    body.replaceChildren(...rows);
    lead(rows.at(-1));
    return fresh.length;
  }
  for (const row of fresh) {
    row.classList.add("is-fresh");
    const next = [...body.rows].find((other) => keyOf(other) < keyOf(row));
    body.insertBefore(row, next ?? null);
  }
  if (body.rows.length > MOST_ROWS) {
    for (const row of [...body.rows].slice(MOST_ROWS)) row.remove();
    lead(body.rows[MOST_ROWS - 1]);
  }
  return fresh.length;
}

// The next page begins after the last row that is shown.
function lead(row) {
  const older = document.querySelector('.pager a[rel="next"]');
  if (!older) return;
  const url = new URL(older.href);
  url.searchParams.set("before", keyOf(row));
  older.href = url;
}

async function ask() {
  asking = new AbortController();
  const url = new URL(tail.dataset.tail, location.href);
  if (known) url.searchParams.set("known", known);
  const answer = await fetch(url, { signal: AbortSignal.any([asking.signal, AbortSignal.timeout(EVERY_MS * 4)]) });
  // Signed out or no longer a member: asking on would not help.
  if (answer.redirected || [401, 403, 404, 422].includes(answer.status)) return stop("Stopped: load the page again");
  if (answer.status === 429) {
    wait = Math.max(wait * 2, 1000 * Number(answer.headers.get("retry-after") ?? 5));
    return say("Waiting: many follow this log", "waits");
  }
  if (!answer.ok) throw new Error(String(answer.status));
  wait = EVERY_MS;
  say("Live", "live");
  if (answer.status === 204) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const rows = [...page.querySelectorAll("tr[data-call]")];
  known = page.querySelector("[data-known]")?.dataset.known ?? "";
  if (!body) {
    // The first call: the page has no list to put it into.
    if (rows.length > 0) location.reload();
    return;
  }
  const count = merge(rows);
  if (count === 0) return;
  told.textContent = count === 1 ? "1 new call" : `${count} new calls`;
  document.dispatchEvent(new Event("timesadded"));
}

async function go() {
  clearTimeout(timer);
  if (paused || document.hidden) return;
  try {
    await ask();
  } catch {
    if (paused || document.hidden) return;
    wait = Math.min(wait * 2, LONGEST_MS);
    say("No answer: trying again", "waits");
  }
  if (!paused) timer = setTimeout(go, wait);
}

function stop(text) {
  paused = true;
  toggle.hidden = true;
  say(text, "paused");
}

function pause(wanted) {
  paused = wanted;
  clearTimeout(timer);
  asking?.abort();
  toggle.setAttribute("aria-pressed", String(paused));
  say(paused ? "Paused" : "Live", paused ? "paused" : "live");
  if (!paused) go();
}

if (tail) {
  tail.querySelector("[data-tail-fallback]").hidden = true;
  toggle.hidden = false;
  word.hidden = false;
  say("Live", "live");
  toggle.addEventListener("click", () => pause(!paused));
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (event.key !== "p" || typing || event.ctrlKey || event.metaKey || event.altKey || toggle.hidden) return;
    pause(!paused);
  });
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) asking?.abort();
    else go();
  });
  timer = setTimeout(go, EVERY_MS);
}
