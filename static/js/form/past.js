// "Load past settings": one's own last jobs and recipes, asked for when somebody wants them.
import { tell } from "../core/dialog.js";
import { element } from "../core/dom.js";
import { timesLocalise } from "../core/format.js";
import { notice } from "../core/notice.js";
import { text } from "../core/texts.js";

export async function pastAsk(button) {
  button.setAttribute("aria-busy", "true");
  const response = await fetch(button.dataset.past, { credentials: "same-origin", headers: { "HX-Request": "true" } }).catch(() => null);
  button.removeAttribute("aria-busy");
  if (!response || !response.ok) {
    notice(text("error_network"), "error");
    return;
  }
  const box = element("div");
  // Our own template: the server escapes what people have written.
  box.insertAdjacentHTML("beforeend", await response.text());
  timesLocalise(box);
  await tell({ title: text("past_title"), extra: box });
}
