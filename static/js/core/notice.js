// Short messages in the corner.
import { element, icon } from "./dom.js";
import { text } from "./texts.js";

const SHOWN_MS = 6000;

/** kind: "good" or "error". Errors stay until they are closed. */
export function notice(message, kind = "good") {
  const close = element("button", { type: "button", "aria-label": text("close"), onclick: () => box.remove() }, icon("x"));
  const box = element("div", { class: `lf-notice is-${kind}` }, element("span", {}, message), close);
  document.getElementById("notices").append(box);
  if (kind !== "error") window.setTimeout(() => box.remove(), SHOWN_MS);
  return box;
}
