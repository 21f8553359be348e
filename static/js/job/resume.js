// Choosing the checkpoint that a job goes on from.
import { api } from "../core/api.js";
import { element } from "../core/dom.js";
import { bytes, integer, number } from "../core/format.js";
import { dialog } from "../core/dialog.js";
import { text } from "../core/texts.js";

const SHOWN = 50;

const badge = (label) => element("span", { class: "lf-badge is-accent" }, label);

function losses(row) {
  const parts = [];
  if (row.loss !== null) parts.push(`${text("resume_loss")} ${number(row.loss)}`);
  if (row.eval_loss !== null) parts.push(`${text("resume_eval_loss")} ${number(row.eval_loss)}`);
  return parts.join(" · ");
}

// Why it cannot be chosen; empty when it can.
function fault(row) {
  if (row.missing.length && !row.can_resume_weights) return text("resume_incomplete", { files: row.missing.join(", ") });
  return row.is_away ? text("resume_away", { node: row.node }) : "";
}

function line(row, several) {
  const cannot = fault(row);
  const onlyWeights = !cannot && !row.can_resume ? text("resume_weights_only_left") : "";
  const name = `${text("resume_step", { n: integer(row.step) })}${several ? ` · ${text("log_attempt", { n: row.attempt })}` : ""}`;
  return element(
    "label",
    { class: "lf-item" },
    element("input", { class: "form-check-input", type: "radio", name: "checkpoint", value: row.id, disabled: Boolean(cannot) }),
    element(
      "span",
      { class: "lf-item-body" },
      element("span", { class: "lf-row" }, element("strong", {}, name), row.is_latest ? badge(text("resume_latest")) : null, row.is_best ? badge(text("resume_best")) : null),
      element("span", { class: "lf-small lf-muted" }, cannot || onlyWeights || losses(row)),
    ),
    element("span", { class: "lf-small lf-muted lf-number" }, bytes(row.size_bytes)),
  );
}

function picker(rows) {
  const several = new Set(rows.map((row) => row.attempt)).size > 1;
  const box = element("div", { class: "lf-picker", role: "radiogroup", "aria-label": text("resume_from") }, ...rows.map((row) => line(row, several)));
  const first = rows.find((row) => row.can_resume) || rows.find((row) => !fault(row));
  for (const input of box.querySelectorAll("input")) input.checked = Boolean(first) && input.value === first.id;
  return box;
}

// Of a checkpoint whose weights alone are complete nothing else can be had: the box says so by itself.
function weightsOnlySync(box, rows) {
  const choice = document.querySelector("#dialog [data-dialog-choice] input");
  const chosen = box.querySelector("input:checked");
  const row = chosen && rows.find((one) => one.id === chosen.value);
  const must = Boolean(row) && !row.can_resume;
  if (must || choice.disabled) choice.checked = must;
  choice.disabled = must;
}

/** Resolves to true once the next attempt is queued. */
export async function resumeAsk(id) {
  const { results } = await api(`jobs/${id}/checkpoints/?page_size=${SHOWN}`);
  const box = picker(results);
  const answer = dialog({
    title: text("resume_title", { id }),
    body: results.length ? text("resume_body") : text("resume_none"),
    ok: text("resume_ok"),
    choice: results.length ? text("resume_weights_only") : "",
    extra: box,
    work: ({ choice }) => {
      const chosen = box.querySelector("input:checked");
      const body = chosen ? { checkpoint: chosen.value, weights_only: choice } : {};
      return api(`jobs/${id}/resume/`, { method: "POST", body });
    },
  });
  box.addEventListener("change", () => weightsOnlySync(box, results));
  weightsOnlySync(box, results);
  return answer;
}
