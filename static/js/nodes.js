// Readings of nodes, live: columns of the list, or the meters of one node; and the operators' buttons.
import "./base.js";

import { api } from "./core/api.js";
import { gibibytesOf, percent } from "./core/format.js";
import { dialog } from "./core/dialog.js";
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

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-node-act]");
  if (!button) return;
  const { nodeAct: act, name } = button.dataset;
  const went = await dialog({
    title: text(`${act}_title`, { name }),
    body: text(`${act}_body`),
    ok: text(`${act}_ok`),
    work: () => api(`nodes/${name}/${act}/`, { method: "POST", body: {} }),
  });
  if (went) {
    notice(text("done"));
    window.htmx.trigger("#node-part", "lf:refresh");
  }
});
