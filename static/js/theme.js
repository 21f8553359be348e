// Runs before the first paint: the stored theme, else the system's. No imports and no exports, so that
// it can be a classic script that blocks for a moment instead of flashing the wrong colours.
{
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const stored = () => {
    try {
      return window.localStorage.getItem("lf-theme") || "system";
    } catch {
      return "system"; // storage is switched off: the system decides
    }
  };
  // The admin's pages read their own key, in JSON; they look like the rest.
  const adminFollows = (theme) => {
    try {
      window.localStorage.setItem("adminTheme", JSON.stringify(theme === "system" ? "auto" : theme));
    } catch {
      // storage is switched off: the admin shows its default
    }
  };
  const apply = () => {
    const theme = stored();
    const shown = theme === "system" ? (dark.matches ? "dark" : "light") : theme;
    document.documentElement.dataset.theme = theme;
    document.documentElement.dataset.bsTheme = shown;
    adminFollows(theme);
    document.dispatchEvent(new CustomEvent("lf:theme", { detail: shown }));
  };
  apply();
  dark.addEventListener("change", apply);
  document.addEventListener("lf:theme-stored", apply);
}
