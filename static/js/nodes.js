// Readings of nodes, live: columns of the list, or the meters of one node; and the operators' buttons.
import "./base.js";

import { api } from "./core/api.js";
import { gibibytesOf, percent } from "./core/format.js";
import { dialog } from "./core/dialog.js";
import { element } from "./core/dom.js";
import { notice } from "./core/notice.js";
import { socketOpen } from "./core/socket.js";
import { text } from "./core/texts.js";
import { Hardware } from "./job/hardware.js";

const meters = document.getElementById("hardware");
const hardware = meters ? new Hardware(meters, document.querySelector('[data-hardware="at"]')) : null;
const connection = document.querySelector("[data-connection]");
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

function columns(row) {
  const gpus = row.gpus.filter((gpu) => gpu.utilization_percent !== null);
  const memory = row.gpus.filter((gpu) => gpu.memory_total_bytes);
  const sum = (name) => memory.reduce((total, gpu) => total + (gpu[name] || 0), 0);
  return {
    cpu: percent(row.host.cpu_percent),
    memory: gibibytesOf(row.host.memory_used_bytes, row.host.memory_total_bytes),
    gpu: gpus.length ? percent(mean(gpus.map((gpu) => gpu.utilization_percent))) : "–",
    gpu_memory: memory.length ? gibibytesOf(sum("memory_used_bytes"), sum("memory_total_bytes")) : "–",
    seen: text("just_now"),
  };
}

function rowShow(row) {
  if (hardware && meters.dataset.nodeName === row.node) hardware.add({ ...row, job: null });
  const line = document.querySelector(`tr[data-node="${CSS.escape(row.node)}"]`);
  if (!line) return;
  for (const [name, shown] of Object.entries(columns(row))) line.querySelector(`[data-reading="${name}"]`).textContent = shown;
}

socketOpen({
  url: () => "/ws/nodes/",
  onFrame: (frame) => frame.type === "gpu" && frame.rows.forEach(rowShow),
  onState: (state) => {
    if (!connection) return;
    connection.dataset.look = state === "open" ? "open" : "lost";
    connection.firstElementChild.textContent = text(state === "open" ? "connection_live" : "connection_lost");
  },
});

const HOUR_S = 3600;

function labelled(said, input) {
  input.id = `ask-${input.name}`;
  return element("div", {}, element("label", { class: "form-label", for: input.id }, said), input);
}

// What becomes of the jobs of a node that is emptied, and until when.
function drainForm() {
  const mode = (value) =>
    element(
      "label",
      { class: "lf-item" },
      element("input", { class: "form-check-input", type: "radio", name: "mode", value }),
      element("span", { class: "lf-item-body" }, text(`drain_${value}`)),
    );
  const box = element(
    "div",
    { class: "lf-stack-sm" },
    element("div", { class: "lf-picker", role: "radiogroup", "aria-label": text("drain_mode") }, mode("migrate"), mode("wait")),
    labelled(text("drain_hours"), element("input", { class: "form-control", type: "number", name: "hours", min: "1", max: "720", step: "1" })),
  );
  box.querySelector("input").checked = true;
  return box;
}

function drainBody(form) {
  const hours = Number.parseInt(form.querySelector('[name="hours"]').value, 10);
  return { mode: form.querySelector("input:checked").value, deadline_s: hours > 0 ? hours * HOUR_S : null };
}

function prefetchForm() {
  const field = (name, input) => labelled(text(`prefetches_${name}`), input);
  const line = (name, more) => field(name, element("input", { class: "form-control", type: "text", name, autocomplete: "off", ...more }));
  const hubs = [
    element("option", { value: "modelscope" }, "ModelScope"),
    element("option", { value: "huggingface" }, "Hugging Face"),
  ];
  return element(
    "div",
    { class: "lf-stack-sm" },
    field("hub", element("select", { class: "form-select", name: "hub" }, ...hubs)),
    line("model", { placeholder: "Qwen/Qwen2.5-7B-Instruct", maxlength: "200", required: "" }),
    line("revision", { maxlength: "128" }),
  );
}

function prefetchBody(form) {
  const of = (name) => form.querySelector(`[name="${name}"]`).value.trim();
  return { hub: of("hub"), model: of("model"), revision: of("revision") };
}

// What an action asks for before it is done.
const FORMS = { drain: [drainForm, drainBody], prefetches: [prefetchForm, prefetchBody] };

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-node-act]");
  if (!button) return;
  const { nodeAct: act, name } = button.dataset;
  const [form, body] = FORMS[act] || [() => null, () => ({})];
  const extra = form();
  const went = await dialog({
    title: text(`${act}_title`, { name }),
    body: text(`${act}_body`),
    ok: text(`${act}_ok`),
    extra,
    work: () => api(`nodes/${name}/${act}/`, { method: "POST", body: body(extra) }),
  });
  if (went) {
    notice(text("done"));
    window.htmx.trigger("#node-part", "lf:refresh");
  }
});
