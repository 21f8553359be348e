// Tabs by the WAI-ARIA pattern; the open one stands in the address.
import { element, icon } from "../core/dom.js";
import { text } from "../core/texts.js";

const loading = () => element("div", { class: "card" }, element("div", { class: "lf-empty" }, element("span", { class: "lf-spin" }), element("p", {}, text("log_loading"))));

export function tabsListen(root, onOpen) {
  const tabs = [...root.querySelectorAll("[data-tab]")];
  const loaded = new Set(tabs.filter((tab) => tab.getAttribute("aria-selected") === "true").map((tab) => tab.dataset.tab));

  async function load(name) {
    const panel = document.getElementById(`panel-${name}`);
    if (name !== "overview") {
      const first = !panel.childElementCount;
      if (first) panel.append(loading());
      const response = await fetch(root.dataset.tabUrl.replace("TAB", name), { credentials: "same-origin" }).catch(() => null);
      if (!response || !response.ok) {
        loaded.delete(name); // the next click asks again, and what is shown stays
        if (first) panel.replaceChildren(element("div", { class: "alert alert-danger", role: "alert" }, icon("alert"), text(response ? "error_unknown" : "error_network")));
        return;
      }
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      panel.replaceChildren(...page.body.childNodes);
    }
    onOpen(name, panel);
  }

  function open(name, { focus = false } = {}) {
    for (const tab of tabs) {
      const on = tab.dataset.tab === name;
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on ? 0 : -1;
      document.getElementById(`panel-${tab.dataset.tab}`).hidden = !on;
      if (on && focus) tab.focus();
    }
    const address = new URL(window.location.href);
    if (name === "overview") address.searchParams.delete("tab");
    else address.searchParams.set("tab", name);
    window.history.replaceState(null, "", address);
    if (loaded.has(name)) onOpen(name, document.getElementById(`panel-${name}`), { again: true });
    else load(name);
    loaded.add(name);
  }

  root.addEventListener("click", (event) => {
    const tab = event.target.closest("[data-tab]");
    if (tab) open(tab.dataset.tab);
  });
  root.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(event.target.closest("[data-tab]"));
    const moves = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 };
    if (at < 0 || !(event.key in moves)) return;
    event.preventDefault();
    open(tabs[(moves[event.key] + tabs.length) % tabs.length].dataset.tab, { focus: true });
  });

  const opened = tabs.find((tab) => tab.getAttribute("aria-selected") === "true").dataset.tab;
  onOpen(opened, document.getElementById(`panel-${opened}`));
  return {
    /** Tabs that show what the state changes are fetched again when they are opened next, or now. */
    stale() {
      for (const name of ["files", "history", "settings"]) {
        loaded.delete(name);
        if (!document.getElementById(`panel-${name}`).hidden) load(name);
      }
    },
  };
}
