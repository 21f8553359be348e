// Which kind of work the job is, and the cards that belong to it. What fine-tuning needs stands in the page;
// the cards of another module are asked for when it is chosen, once.
import { api } from "../core/api.js";
import { element } from "../core/dom.js";
import { notice } from "../core/notice.js";
import { text } from "../core/texts.js";
import { uploaderMake } from "../core/uploader.js";

export class ModuleField {
  constructor(form, modules, deciding, onChosen) {
    this.form = form;
    this.modules = modules;
    this.box = form.querySelector("[data-module-cards]");
    this.told = form.querySelector("[data-all-told]");
    this.first = { deciding, told: this.told.textContent };
    this.loaded = new Map();
    this.files = new Set();
    this.current = modules[0];
    this.onChosen = onChosen;
    for (const radio of form.querySelectorAll('input[name="module"]')) {
      radio.addEventListener("change", async () => {
        await this.show(radio.value);
        onChosen();
      });
    }
  }

  get defaults() {
    return (this.loaded.get(this.current.id) || this.first).deciding;
  }

  /** The module of a draft. */
  of(draft) {
    const fits = this.modules.filter((one) => one.command === (draft.command || "sft") && Object.entries(one.fixed).every(([name, value]) => (draft.arguments || {})[name] === value));
    return fits.sort((one, other) => Object.keys(other.fixed).length - Object.keys(one.fixed).length)[0] || this.modules[0];
  }

  async show(id) {
    this.current = this.modules.find((one) => one.id === id);
    this.form.querySelector(`input[name="module"][value="${id}"]`).checked = true;
    for (const part of this.form.querySelectorAll("[data-for]")) part.hidden = !this.current[part.dataset.for];
    if (!this.current.whole && !this.loaded.has(id)) await this.load(id);
    if (this.current.id !== id) return; // another one was chosen meanwhile
    const part = this.loaded.get(id);
    this.box.replaceChildren(...(part ? part.nodes : []));
    this.box.hidden = !part;
    this.told.textContent = (part || this.first).told;
    if (this.box.querySelector("[data-codes]")) await this.codes();
  }

  async load(id) {
    const address = this.form.dataset.module.replace(/[^/]+\/$/, `${id}/`);
    const response = await fetch(address, { credentials: "same-origin", headers: { "HX-Request": "true" } }).catch(() => null);
    if (!response || !response.ok) {
      notice(text("module_failed"), "error");
      return;
    }
    const holder = element("template");
    holder.innerHTML = await response.text();
    const { deciding } = JSON.parse(holder.content.querySelector("#module-data").textContent);
    const told = holder.content.querySelector("[data-counts]").innerHTML;
    const upload = holder.content.querySelector("[data-upload]");
    if (upload) uploaderMake(upload, (dataset) => this.arrived(dataset));
    this.loaded.set(id, { nodes: [...holder.content.children].filter((one) => one.matches("section")), deciding, told });
  }

  /** Uploaded files with reward functions. */
  async codes() {
    const box = this.box.querySelector("[data-codes]");
    let rows = [];
    try {
      rows = (await api("datasets/?kind=code&state=ready&page_size=100")).results;
    } catch (error) {
      notice(error.message, "error");
    }
    box.replaceChildren(...(rows.length ? rows.map((row) => this.code(row)) : [element("p", { class: "lf-pick lf-muted" }, text("codes_none"))]));
  }

  /** A file that was uploaded right here is chosen. */
  async arrived(dataset) {
    await this.codes();
    const box = this.box.querySelector(`[data-codes] input[value="${dataset.id}"]`);
    if (box) box.click();
  }

  code(row) {
    const names = row.rewards || [];
    const box = element("input", { class: "form-check-input", type: "checkbox", value: String(row.id) });
    box.checked = this.files.has(row.id);
    box.addEventListener("change", () => {
      if (box.checked) this.files.add(row.id);
      else this.files.delete(row.id);
      this.functionsSet(names, box.checked);
      this.onChosen();
    });
    return element("label", { class: "lf-pick" }, box, element("span", { class: "lf-cut", title: row.name }, row.name), element("code", { class: "lf-small lf-muted lf-push" }, names.join(" ")));
  }

  /** The functions of a file are named, or not named any more, among the reward functions. */
  functionsSet(names, on) {
    const field = this.box.querySelector('[data-argument="reward_funcs"]');
    const others = field.value.split(/\s+/).filter((name) => name && !names.includes(name));
    field.value = [...others, ...(on ? names : [])].join(" ");
  }

  /** What a draft has beside the arguments. */
  value(shown) {
    const found = {};
    for (const input of this.box.querySelectorAll("[data-beside]")) {
      const typed = input.value.trim();
      if (!typed || !shown(JSON.parse(input.closest("[data-when]").dataset.when))) continue;
      found[input.dataset.beside] = input.dataset.beside === "reward_models" ? typed.split(/\s+/) : typed;
    }
    if (this.box.querySelector("[data-codes]")) found.reward_files = [...this.files];
    return found;
  }

  set(draft) {
    this.files = new Set(draft.reward_files || []);
    for (const input of this.box.querySelectorAll("[data-beside]")) {
      const kept = draft[input.dataset.beside];
      input.value = Array.isArray(kept) ? kept.join(" ") : kept || "";
    }
    for (const box of this.box.querySelectorAll("[data-codes] input")) box.checked = this.files.has(Number(box.value));
  }
}
