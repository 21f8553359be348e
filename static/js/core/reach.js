// Whether the server can be reached and still knows who asks. One banner says so on every page; it goes by itself.
import { text } from "./texts.js";

const SIGNED_OUT = 401;
const AGAIN_MS = 3000;
let timer = 0;
let away = false;

function show(message, { signIn = false } = {}) {
  const banner = document.getElementById("offline");
  banner.querySelector("[data-offline-text]").textContent = message;
  banner.querySelector("[data-offline-again]").hidden = signIn;
  const link = banner.querySelector("[data-offline-sign-in]");
  link.hidden = !signIn;
  link.href = `${link.dataset.login}?next=${encodeURIComponent(window.location.pathname + window.location.search)}`;
  banner.hidden = false;
}

function back() {
  window.clearTimeout(timer);
  away = false;
  document.getElementById("offline").hidden = true;
  document.dispatchEvent(new CustomEvent("lf:reached"));
}

async function tryAgain() {
  window.clearTimeout(timer);
  try {
    const answer = await fetch("/healthz", { cache: "no-store" });
    if (answer.ok) {
      back();
      return;
    }
  } catch {
    // still away
  }
  timer = window.setTimeout(tryAgain, AGAIN_MS);
}

/** The server did not answer at all. */
export function reachLost() {
  if (away) return;
  away = true;
  document.dispatchEvent(new CustomEvent("lf:away"));
  show(text("offline"));
  timer = window.setTimeout(tryAgain, AGAIN_MS);
}

/** It answered with this status. */
export function reachAnswer(status) {
  if (status === SIGNED_OUT) show(text("signed_out"), { signIn: true });
}

export function reachListen() {
  window.addEventListener("offline", reachLost);
  window.addEventListener("online", () => away && tryAgain());
  document.addEventListener("htmx:sendError", reachLost);
  document.addEventListener("htmx:responseError", (event) => reachAnswer(event.detail.xhr.status));
  document.querySelector("[data-offline-again]").addEventListener("click", tryAgain);
}
