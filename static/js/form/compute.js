// Where a job runs: what the platform recommends, a number of devices, or named ones of a node.
import { debounce, element } from "../core/dom.js";
import { gibibytes } from "../core/format.js";
import { text } from "../core/texts.js";

const PLACE_WAIT_MS = 1000;
// Jobs of others come and end meanwhile, so the answer is asked for again while it is seen.
const PLACE_EVERY_MS = 15000;

export class ComputeField {
  /** onPlaced: the answer about where it would run has changed, not the draft. */
  constructor(form, nodes, onChange, onPlaced) {
    this.form = form;
    this.nodes = nodes;
    this.onChange = onChange;
    this.onPlaced = onPlaced;
    this.gpus = form.querySelector("#gpus");
    this.node = form.querySelector("#node");
    this.devices = form.querySelector("[data-devices]");
    this.ddp = form.querySelector("#ddp");
    this.processes = form.querySelector("#processes");
    this.uuids = new Set();
    this.asked = {};
    this.node.replaceChildren(...nodes.map((row) => element("option", { value: row.name }, `${row.name} · ${row.state}`)));
    this.listen();
    this.show();
  }

  listen() {
    const place = debounce(() => this.placement(), 200);
    this.placeSoon = debounce(() => this.placement(), PLACE_WAIT_MS);
    window.setInterval(() => this.placement(), PLACE_EVERY_MS);
    document.addEventListener("visibilitychange", () => this.placement());
    for (const input of this.form.querySelectorAll('input[name="compute"]')) input.addEventListener("change", () => this.changed());
    this.gpus.addEventListener("input", () => {
      place();
      this.changed();
    });
    this.node.addEventListener("change", () => {
      this.uuids.clear();
      this.changed();
    });
    this.devices.addEventListener("change", (event) => {
      if (event.target.checked) this.uuids.add(event.target.value);
      else this.uuids.delete(event.target.value);
      this.changed();
    });
    this.ddp.addEventListener("change", () => {
      if (this.ddp.checked) this.processes.value = String(this.count);
      this.changed();
    });
    this.processes.addEventListener("input", () => this.changed());
  }

  get way() {
    return this.form.querySelector('input[name="compute"]:checked').value;
  }

  /** Devices that the job would have. */
  get count() {
    if (this.way === "named") return Math.max(1, this.uuids.size);
    return this.way === "count" ? Math.max(1, Number(this.gpus.value) || 1) : 1;
  }

  get processCount() {
    return this.ddp.checked && this.count > 1 ? Math.max(1, Number(this.processes.value) || 1) : 1;
  }

  value() {
    const named = this.way === "named";
    return {
      gpus: this.count,
      node: named ? this.node.value : "",
      gpu_uuids: named ? [...this.uuids] : [],
      processes: this.processCount,
    };
  }

  set(draft) {
    const named = (draft.gpu_uuids || []).length > 0;
    const way = named || draft.node ? "named" : draft.gpus > 1 ? "count" : "auto";
    this.form.querySelector(`input[name="compute"][value="${way}"]`).checked = true;
    this.gpus.value = String(draft.gpus || 1);
    if (draft.node && this.nodes.some((row) => row.name === draft.node)) this.node.value = draft.node;
    this.uuids = new Set(draft.gpu_uuids || []);
    this.ddp.checked = (draft.processes || 1) > 1;
    this.processes.value = String(Math.max(2, draft.processes || 2));
    this.show();
    if (way === "count") this.placement();
  }

  changed() {
    this.show();
    this.onChange();
  }

  show() {
    for (const part of this.form.querySelectorAll("[data-compute]")) part.hidden = part.dataset.compute !== this.way;
    const row = this.nodes.find((one) => one.name === this.node.value);
    this.devices.replaceChildren(...(row ? row.devices.map((device) => this.device(device)) : []));
    const several = this.count > 1;
    this.ddp.disabled = !several;
    this.form.querySelector("[data-ddp]").hidden = !this.ddp.checked || !several;
    this.form.querySelector("[data-ddp-hint]").hidden = several;
    this.processes.max = String(this.count);
  }

  device(device) {
    const box = element("input", { class: "form-check-input", type: "checkbox", value: device.uuid });
    box.checked = this.uuids.has(device.uuid);
    const memory = device.memory_bytes ? ` · ${gibibytes(device.memory_bytes)}` : "";
    const look = device.busy ? "lf-chip is-blue" : "lf-chip is-green";
    return element(
      "label",
      { class: "lf-pick" },
      box,
      element("span", { class: "lf-cut", title: device.uuid }, `${device.index} · ${device.name}${memory}`),
      element("span", { class: `${look} lf-push` }, text(device.busy ? "device_busy" : "device_free")),
    );
  }

  summary() {
    if (this.way === "auto") return this.form.querySelector('[data-placement="1"]').textContent;
    if (this.way === "count") return text("gpus_any", { count: this.count });
    return text("devices_chosen", { count: this.uuids.size, node: this.node.value });
  }

  /** What would become of the job right now, as its way of choosing has it. */
  placement() {
    if (document.hidden || this.way === "named") return null;
    return this.way === "auto" ? this.recommend() : this.placementShow("[data-placement-text]", this.count);
  }

  /** Where one with a single device would run; the page comes without it, since it takes a look at the whole queue. */
  recommend() {
    return this.placementShow('[data-placement="1"]', 1);
  }

  /** Only the newest answer counts; none leaves what is shown. */
  async placementShow(selector, count) {
    const mine = (this.asked[selector] || 0) + 1;
    this.asked[selector] = mine;
    const response = await fetch(`${this.form.dataset.placement}?gpus=${count}`, { credentials: "same-origin" }).catch(() => null);
    if (!response || !response.ok || response.redirected) return;
    const said = await response.text();
    if (mine !== this.asked[selector]) return;
    this.form.querySelector(selector).textContent = said;
    this.onPlaced();
  }
}
