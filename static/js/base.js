// On every page: local times, the theme switch, copy buttons, lists that renew themselves.
import { copyText } from "./core/dom.js";
import { timesLocalise } from "./core/format.js";
import { keysListen } from "./core/keys.js";
import { notice } from "./core/notice.js";
import { reachListen } from "./core/reach.js";
import { text } from "./core/texts.js";

const THEMES = ["system", "light", "dark"];

function themeShow() {
  const theme = document.documentElement.dataset.theme;
  for (const button of document.querySelectorAll("[data-theme-switch]")) {
    for (const part of button.querySelectorAll("[data-theme-icon]")) part.hidden = part.dataset.themeIcon !== theme;
    const label = button.getAttribute(`data-label-${theme}`);
    button.title = label;
    button.setAttribute("aria-label", label);
  }
  for (const input of document.querySelectorAll('input[name="theme"]')) input.checked = input.value === theme;
}

function themeStore(theme) {
  window.localStorage.setItem("lf-theme", theme);
  document.dispatchEvent(new CustomEvent("lf:theme-stored"));
  themeShow();
}

async function onClick(event) {
  const target = event.target.closest("[data-theme-switch], [data-copy], [data-dismiss], tr[data-href]");
  if (!target) return;
  if (target.matches("[data-theme-switch]")) {
    themeStore(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
  } else if (target.matches("[data-copy]")) {
    const source = target.dataset.copy.startsWith("#") ? document.querySelector(target.dataset.copy).textContent : target.dataset.copy;
    await copyText(source);
    notice(text("copied"));
  } else if (target.matches("[data-dismiss]")) {
    target.parentElement.remove();
  } else if (!event.target.closest("a, button, input") && !window.getSelection().toString()) {
    window.location.href = target.dataset.href;
  }
}

// Parts with data-refresh-ms ask for themselves again while the page is seen; the server answers 204
// when nothing has changed (header LF-Version).
const refreshed = new WeakMap();
function partsRefresh() {
  if (document.visibilityState !== "visible") return;
  const now = Date.now();
  for (const part of document.querySelectorAll("[data-refresh-ms]")) {
    if (!refreshed.has(part)) refreshed.set(part, now);
    if (now - refreshed.get(part) < Number(part.dataset.refreshMs)) continue;
    refreshed.set(part, now);
    window.htmx.trigger(part, "lf:refresh");
  }
}

document.addEventListener("click", onClick);
document.addEventListener("change", (event) => {
  if (event.target.matches('input[name="theme"]')) themeStore(event.target.value);
  if (event.target.matches("[data-submit-on-change]")) event.target.form.requestSubmit();
});
document.addEventListener("htmx:afterSettle", (event) => timesLocalise(event.target.parentElement || document));
reachListen();
keysListen();
timesLocalise();
themeShow();
window.setInterval(() => timesLocalise(), 30000);
window.setInterval(partsRefresh, 500);
document.documentElement.dataset.ready = "1";
