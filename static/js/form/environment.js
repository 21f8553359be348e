// Environment variables that a job may be given: asked for when the list is opened or has values.
import { api } from "../core/api.js";
import { element } from "../core/dom.js";
import { text } from "../core/texts.js";

export class EnvironmentField {
  constructor(form, onChange) {
    this.root = form.querySelector("#environment");
    this.box = this.root.querySelector("[data-environment]");
    this.badge = this.root.querySelector("[data-environment-changed]");
    this.values = {};
    this.onChange = onChange;
    this.root.addEventListener("toggle", () => this.root.open && this.load());
  }

  value() {
    return { environment: this.values };
  }

  set(values) {
    this.values = { ...values };
    for (const control of this.box.querySelectorAll("[data-variable]")) control.value = this.values[control.dataset.variable] ?? "";
    this.count();
  }

  count() {
    const count = Object.keys(this.values).length;
    this.badge.hidden = !count;
    this.badge.textContent = text("arguments_changed", { count });
  }

  async load() {
    if (this.loaded) return;
    this.loaded = true;
    try {
      this.build((await api("swift/environment/")).variables);
    } catch (error) {
      this.loaded = false;
      this.box.replaceChildren(element("p", { class: "lf-error", role: "alert" }, text("arguments_failed", { reason: error.message })));
    }
  }

  build(variables) {
    const groups = new Map();
    for (const one of variables) {
      if (!groups.has(one.group)) groups.set(one.group, element("section", { class: "lf-group" }, element("h3", {}, one.group)));
      groups.get(one.group).append(this.row(one));
    }
    this.box.replaceChildren(...groups.values());
    this.set(this.values);
  }

  row(one) {
    const id = `env-${one.name}`;
    const control = this.control(one, id);
    control.addEventListener("change", () => {
      const typed = control.value.trim();
      if (typed) this.values[one.name] = typed;
      else delete this.values[one.name];
      this.count();
      this.onChange();
    });
    return element(
      "div",
      { class: "lf-argument", "data-field": `environment.${one.name}` },
      element("label", { class: "lf-argument-name", for: id }, element("span", { class: "lf-cut lf-mono", title: one.name }, one.name)),
      control,
      element("span"),
      element("div", { class: "lf-hint", id: `${id}-help` }, one.help),
    );
  }

  control(one, id) {
    const shared = { id, "data-variable": one.name, "aria-describedby": `${id}-help` };
    if (one.choices.length) {
      return element("select", { ...shared, class: "form-select" }, element("option", { value: "" }, text("default_none")), ...one.choices.map((value) => element("option", { value }, value)));
    }
    const bounds = one.minimum === null ? null : `${one.minimum} – ${one.maximum}`;
    return element("input", { ...shared, class: "form-control", type: "text", placeholder: one.example || text("default_none"), title: bounds, inputmode: one.kind === "text" ? null : "decimal", autocomplete: "off", spellcheck: "false" });
  }
}
