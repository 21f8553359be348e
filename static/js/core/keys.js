// Two keys of every page, never while something is typed: / goes to the search field, c begins a new fine-tune.
const TYPED = "input, textarea, select, [contenteditable]";

export function keysListen() {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.target.closest(TYPED)) return;
    if (document.querySelector(".modal.show")) return;
    const target = { "/": '[role="search"] input[type="search"], #log-search', c: ".lf-side-new" }[event.key];
    const found = target && document.querySelector(target);
    if (!found) return;
    event.preventDefault();
    if (event.key === "c") found.click();
    else found.focus();
  });
}
