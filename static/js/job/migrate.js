// Choosing the node that a running job moves to.
import { api } from "../core/api.js";
import { element } from "../core/dom.js";
import { dialog } from "../core/dialog.js";
import { text } from "../core/texts.js";

const PAGE_SIZE = 200;

const hasGpu = (node) => node.devices.some((device) => device.kind === "gpu");
const takes = (node) => node.state === "online" && !node.cordoned && node.disk_level !== "low";

function line(value, name, said) {
  return element(
    "label",
    { class: "lf-item" },
    element("input", { class: "form-check-input", type: "radio", name: "node", value }),
    element("span", { class: "lf-item-body" }, element("strong", {}, name)),
    element("span", { class: "lf-small lf-muted" }, said),
  );
}

function picker(nodes, here) {
  const source = nodes.find((node) => node.name === here);
  const isAlike = (node) => !source || hasGpu(node) === hasGpu(source);
  const others = nodes.filter((node) => node.name !== here && takes(node) && isAlike(node));
  const lines = others.map((node) => {
    const free = node.devices.filter((device) => !device.busy).length;
    return line(node.name, node.name, text("migrate_free", { free, total: node.devices.length }));
  });
  const box = element(
    "div",
    { class: "lf-picker", role: "radiogroup", "aria-label": text("migrate_to") },
    line("best", text("migrate_best"), ""),
    ...lines,
  );
  for (const input of box.querySelectorAll("input")) input.checked = input.value === "best";
  return box;
}

/** Resolves to true once the move has begun. here: the node that it is on. */
export async function migrateAsk(id, here) {
  const { results } = await api(`nodes/?page_size=${PAGE_SIZE}`);
  const box = picker(results, here);
  return dialog({
    title: text("migrate_title", { id }),
    body: text("migrate_body"),
    ok: text("migrate_ok"),
    extra: box,
    work: () => api(`jobs/${id}/migrate/`, { method: "POST", body: { node: box.querySelector("input:checked").value } }),
  });
}
