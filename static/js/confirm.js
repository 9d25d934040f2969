// A confirmation is a <details> with a form inside, which works as it is. This shows the same form as a modal dialog.
for (const [i, details] of document.querySelectorAll("details[data-confirm]").entries()) {
  const summary = details.querySelector("summary");
  const form = details.querySelector("form");
  const dialog = document.createElement("dialog");
  dialog.className = "modal";
  const title = form.querySelector("h3");
  title.id = `confirm-${i}`;
  dialog.setAttribute("aria-labelledby", title.id);
  dialog.append(form);
  details.after(dialog);

  const cancel = form.querySelector("[data-confirm-cancel]");
  cancel.hidden = false;
  // The harmless button has the focus, unless a name must be typed first.
  (form.querySelector("input:not([type=hidden])") ?? cancel).autofocus = true;

  summary.addEventListener("click", (event) => {
    event.preventDefault();
    dialog.showModal();
  });
  cancel.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    form.reset();
    summary.focus();
  });
}
