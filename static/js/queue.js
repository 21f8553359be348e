// The queue: one's own order, and for operators classes, explanations and reservations.
import "./base.js";

import { api } from "./core/api.js";
import { dialog, tell } from "./core/dialog.js";
import { timesLocalise } from "./core/format.js";
import { notice } from "./core/notice.js";
import { text } from "./core/texts.js";
import { reserveAsk } from "./queue/reserve.js";

const refresh = () => window.htmx.trigger("#queue", "lf:refresh");

/** Does it, says so, and shows the queue as it is then; a refusal is shown as it is. */
async function run(part, work, said) {
  part.setAttribute("aria-busy", "true");
  try {
    await work();
    notice(said);
  } catch (error) {
    notice(error.message, "error");
  } finally {
    part.removeAttribute("aria-busy");
    refresh();
  }
}

async function explain(button) {
  const answer = await fetch(button.dataset.explain, { headers: { "HX-Request": "true" }, credentials: "same-origin" });
  if (!answer.ok) {
    notice(text(answer.status === 404 ? "explain_gone" : "error_unknown"), "error");
    refresh();
    return;
  }
  const box = document.createElement("div");
  box.innerHTML = await answer.text(); // made by our server, which escapes what people wrote
  timesLocalise(box);
  await tell({ title: text("explain_title", { id: button.dataset.job }), extra: box });
}

async function end(button) {
  const went = await dialog({
    title: text("end_title", { node: button.dataset.node }),
    body: text("end_body"),
    ok: text("end_ok"),
    danger: true,
    work: () => api(`reservations/${button.dataset.end}/`, { method: "DELETE" }),
  });
  if (went) notice(text("end_done"));
  refresh();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-move], [data-explain], [data-end], [data-reserve]");
  if (!button) return;
  const { job, move } = button.dataset;
  if (move) await run(button, () => api(`jobs/${job}/move/`, { method: "POST", body: { move } }), text("moved"));
  else if (button.dataset.explain) await explain(button);
  else if (button.dataset.end) await end(button);
  else if (await reserveAsk()) {
    notice(text("reserved"));
    refresh();
  }
});

document.addEventListener("change", (event) => {
  const { class: job } = event.target.dataset;
  if (!job) return;
  const body = { priority: Number(event.target.value) };
  run(event.target, () => api(`jobs/${job}/`, { method: "PATCH", body }), text("class_changed"));
});
