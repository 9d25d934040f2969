// Asks every two seconds whether the first call has come, and then swaps the two states. Pauses while the page is hidden.
const INTERVAL_MS = 2000;

for (const panel of document.querySelectorAll("[data-poll-url]")) {
  const ask = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(panel.dataset.pollUrl, {
          headers: { accept: "application/json" },
          signal: AbortSignal.timeout(INTERVAL_MS * 2),
        });
        if (answer.ok && (await answer.json()).first_call === true) {
          panel.querySelector("[data-waiting]").hidden = true;
          panel.querySelector("[data-received]").hidden = false;
          return;
        }
        // Signed out or no longer a member: asking on would not help.
        if (answer.status === 401 || answer.status === 403 || answer.status === 404 || answer.redirected) return;
      } catch {
        // Away for a moment: ask again.
      }
    }
    setTimeout(ask, INTERVAL_MS);
  };
  setTimeout(ask, INTERVAL_MS);
}
