// The rows of the parameter table: empty spare ones are folded away, and can be added and removed. The form works without this.
const table = document.querySelector("[data-parameters]");

if (table) {
  const rows = () => [...table.querySelectorAll("[data-parameter]")];
  const named = (row) => row.querySelector("[data-name]").value.trim() !== "";
  const add = document.querySelector("[data-parameter-add]");

  const refresh = () => {
    add.disabled = rows().every((row) => !row.hidden);
  };

  rows().forEach((row, i) => {
    row.hidden = i > 0 && !named(row);
    const remove = row.querySelector("[data-parameter-remove]");
    remove.hidden = false;
    remove.addEventListener("click", () => {
      for (const field of row.querySelectorAll("input")) field.value = "";
      for (const field of row.querySelectorAll("select")) field.selectedIndex = 0;
      row.hidden = true;
      refresh();
      add.focus();
    });
  });

  add.hidden = false;
  add.addEventListener("click", () => {
    const row = rows().find((candidate) => candidate.hidden);
    if (!row) return;
    table.append(row);
    row.hidden = false;
    row.querySelector("[data-name]").focus();
    refresh();
  });
  refresh();
}

// Only the half of the form that belongs to the chosen kind is shown and sent.
const kinds = document.querySelectorAll("input[name=kind]");
const show = () => {
  const chosen = document.querySelector("input[name=kind]:checked")?.value;
  for (const part of document.querySelectorAll("[data-kind]")) {
    part.hidden = part.dataset.kind !== chosen;
    part.disabled = part.hidden;
  }
};
for (const kind of kinds) kind.addEventListener("change", show);
if (kinds.length > 0) show();
