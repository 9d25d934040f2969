// Applies the stored theme before the first paint and keeps the three buttons of the menu in step. Not a module: it must not wait.
(() => {
  const KEY = "trunkline-theme";
  const root = document.documentElement;

  const stored = () => {
    try {
      return localStorage.getItem(KEY) ?? "";
    } catch {
      return "";
    }
  };

  const apply = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
    for (const button of document.querySelectorAll("[data-theme-choice] button")) {
      button.setAttribute("aria-pressed", String(button.value === (root.dataset.theme ?? "")));
    }
    document.dispatchEvent(new Event("themechange"));
  };

  apply(stored());
  document.addEventListener("DOMContentLoaded", () => {
    for (const group of document.querySelectorAll("[data-theme-choice]")) {
      group.hidden = false;
      group.addEventListener("click", (event) => {
        const button = event.target.closest("button");
        if (!button) return;
        try {
          localStorage.setItem(KEY, button.value);
        } catch {
          // Private mode: the choice holds for this page.
        }
        apply(button.value);
      });
    }
    apply(stored());
  });
  addEventListener("storage", (event) => event.key === KEY && apply(stored()));
})();
