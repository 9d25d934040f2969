// Copy buttons: shown only where a clipboard exists; without one the text can still be selected.
const SHOWN_MS = 1600;

if (navigator.clipboard) {
  for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = button.closest("[data-copy-box]").querySelector("[data-copy-text]").textContent;
    try {
      await navigator.clipboard.writeText(text.trim());
    } catch {
      return;
    }
    button.dataset.copied = "";
    button.setAttribute("aria-label", "Copied");
    setTimeout(() => {
      delete button.dataset.copied;
      button.setAttribute("aria-label", "Copy");
    }, SHOWN_MS);
  });
}
