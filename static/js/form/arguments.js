// Everything else of SWIFT's catalogue: loaded when it is opened, searched, changed, put back.
import { api } from "../core/api.js";
import { debounce, element, icon } from "../core/dom.js";
import { text } from "../core/texts.js";
import { OwnFields } from "./ownfields.js";
import { valueRead, valueShow } from "./values.js";

export class AllArguments {
  constructor(form, onChange) {
    this.root = form.querySelector("#all-arguments");
    this.box = this.root.querySelector("[data-all]");
    this.none = this.root.querySelector("[data-all-none]");
    this.count = this.root.querySelector("[data-all-count]");
    this.changedBadge = this.root.querySelector("[data-all-changed]");
    this.search = this.root.querySelector("#argument-search");
    this.only = this.root.querySelector("#only-changed");
    this.form = form;
    this.ownFields = null;
    this.conditions = new Map();
    this.defaults = {};
    this.off = new Set();
    this.values = {};
    this.rows = new Map();
    this.command = "sft";
    this.onChange = onChange;
    this.root.addEventListener("toggle", () => this.root.open && this.load());
    this.search.addEventListener("input", debounce(() => this.filter(), 80));
    this.only.addEventListener("change", () => this.filter());
  }

  set(values) {
    this.values = { ...values };
    for (const row of this.rows.values()) this.rowShow(row);
    this.badge();
  }

  /** key: tells one form of a command from another; own: the arguments that have a field in it. */
  async commandSet(command, key, own) {
    if (key === this.key) return;
    Object.assign(this, { command, key, own: new Set(own), loaded: false, ownFields: null });
    this.rows.clear();
    this.conditions.clear();
    this.root.querySelector("[data-all-own]").replaceChildren();
    this.box.replaceChildren(element("p", { class: "lf-muted" }, text("loading")));
    if (this.root.open) await this.load();
  }

  async load() {
    if (this.loaded) return;
    this.loaded = true;
    this.ownFields = this.ownFields || new OwnFields(this.form, this.root.querySelector("[data-all-own]"));
    const asked = this.key;
    try {
      const answer = await api(`swift/catalogue/?command=${this.command}`);
      if (asked !== this.key) return;
      this.defaults = answer.deciding;
      for (const one of answer.arguments) if (one.when.length) this.conditions.set(one.name, one.when);
      this.build(answer.arguments.filter((one) => !one.reserved && !this.own.has(one.name)), answer.sections);
      this.filter();
      this.onLoad();
    } catch (error) {
      this.loaded = false;
      this.box.replaceChildren(element("p", { class: "lf-error", role: "alert" }, text("arguments_failed", { reason: error.message })));
    }
  }

  build(found, sections) {
    this.rows.clear();
    const known = new Map(found.map((one) => [one.name, one]));
    for (const { title, arguments: names } of sections) {
      const count = element("span", { class: "lf-small lf-muted lf-push" });
      const group = element("details", { class: "lf-group" }, element("summary", {}, icon("chevron-right"), element("h3", {}, title), count));
      group.count = count;
      for (const name of names) if (known.has(name)) this.row(known.get(name), group);
    }
    this.box.replaceChildren();
  }

  row(argument, group) {
    const id = `all-${argument.name}`;
    const control = this.control(argument, id);
    control.setAttribute("aria-describedby", `${id}-help`);
    const label = element(
      "label",
      { class: "lf-argument-name", for: id },
      element("span", { class: "lf-cut", title: argument.name }, argument.name.replace(/_/g, " ")),
      element("small", { class: "lf-cut lf-mono", title: `${argument.flag}: ${argument.type}` }, argument.flag),
    );
    const reset = element("button", { class: "btn btn-quiet btn-sm", type: "button", title: text("reset"), onclick: () => this.change(argument, undefined) }, icon("retry"), text("changed"));
    const root = element("div", { class: "lf-argument", "data-field": `arguments.${argument.name}` }, label, control, element("span", { class: "lf-argument-state" }, reset), element("div", { class: "lf-hint", id: `${id}-help` }, argument.help));
    const row = { argument, root, control, reset, group };
    control.addEventListener("change", () => this.change(argument, valueRead(control.value, argument.kind)));
    this.rows.set(argument.name, row);
    this.rowShow(row);
  }

  control(argument, id) {
    const fallback = argument.default === null ? text("default_none") : valueShow(argument.default);
    const empty = `${text("default")}: ${fallback === "" ? "“”" : fallback}`;
    if (argument.kind === "bool" || argument.choices) {
      const values = argument.kind === "bool" ? ["true", "false"] : argument.choices.map(String);
      return element("select", { class: "form-select", id }, element("option", { value: "" }, empty), ...values.map((value) => element("option", { value }, value)));
    }
    const input = element("input", { class: "form-control", id, type: "text", placeholder: empty, autocomplete: "off", spellcheck: "false" });
    if (argument.kind === "int" || argument.kind === "float") input.inputMode = "decimal";
    const title = [argument.range, this.kindHint(argument.kind)].filter(Boolean).join(" · ");
    if (title) input.title = title;
    if (argument.suggestions.length) this.suggest(input, argument);
    return input;
  }

  kindHint(kind) {
    if (kind === "json") return text("json_hint");
    return kind.startsWith("list") ? text("list_hint") : "";
  }

  suggest(input, argument) {
    const id = `suggest-${argument.name}`;
    input.setAttribute("list", id);
    if (!document.getElementById(id)) document.body.append(element("datalist", { id }, ...argument.suggestions.map((value) => element("option", { value: String(value) }))));
  }

  change(argument, value) {
    if (value === undefined) delete this.values[argument.name];
    else this.values[argument.name] = value;
    this.rowShow(this.rows.get(argument.name));
    this.badge();
    this.onChange();
  }

  rowShow({ argument, control, reset }) {
    const changed = argument.name in this.values;
    control.value = changed ? valueShow(this.values[argument.name]) : "";
    reset.hidden = !changed;
  }

  badge() {
    const count = Object.keys(this.values).length;
    this.changedBadge.hidden = !count;
    this.changedBadge.textContent = text("arguments_changed", { count });
  }

  filter() {
    const words = this.search.value.toLowerCase().replace(/^--/, "").replace(/[-_]/g, " ").split(/\s+/).filter(Boolean);
    const found = (...texts) => words.every((word) => texts.join(" ").toLowerCase().replace(/[-_]/g, " ").includes(word));
    let shown = this.rowsShow(found);
    // What is found by its name stands above what only its help speaks of.
    const order = [...this.rows.values()].sort((one, other) => other.named - one.named);
    for (const { group, root } of order) group.append(root);
    this.box.append(...new Set(order.map(({ group }) => group)));
    for (const group of this.box.querySelectorAll("details")) this.groupShow(group, words.length > 0 || this.only.checked);
    this.count.textContent = text("arguments_found", { count: shown, total: this.rows.size });
    shown += this.ownFields.filter(this.only.checked ? [] : words);
    this.none.hidden = shown > 0;
    this.none.textContent = shown ? "" : text(words.length ? "arguments_none" : "arguments_none_changed");
  }

  /** Shows the rows that are found; gives how many. */
  rowsShow(found) {
    let shown = 0;
    for (const row of this.rows.values()) {
      const { name, help } = row.argument;
      const on = !this.off.has(name) && found(name, help) && (!this.only.checked || name in this.values);
      row.named = on && found(name);
      row.root.hidden = !on;
      shown += on ? 1 : 0;
    }
    return shown;
  }

  /** searched: what is found is seen at once; otherwise a section opens when somebody opens it. */
  groupShow(group, searched) {
    const rows = [...group.querySelectorAll(".lf-argument")].filter((row) => !row.hidden);
    const changed = rows.filter((row) => row.dataset.field.slice("arguments.".length) in this.values).length;
    group.hidden = !rows.length;
    if (searched !== this.searched) group.open = searched;
    group.count.textContent = changed ? text("section_changed", { count: rows.length, changed }) : String(rows.length);
    if (group === this.box.lastElementChild) this.searched = searched;
  }

  /** off: names without effect beside the others; they are not shown. shown: whether conditions hold now. */
  effectShow(shown) {
    const off = [...this.conditions].filter(([, when]) => !shown(when)).map(([name]) => name);
    const before = this.off;
    this.off = new Set(off);
    if (this.rows.size && (before.size !== this.off.size || off.some((name) => !before.has(name)))) this.filter();
  }

  /** Opens the list at one argument. */
  async reveal(name) {
    this.root.open = true;
    await this.load();
    this.search.value = "";
    this.only.checked = false;
    this.filter();
    const row = this.rows.get(name);
    if (!row) return;
    row.group.open = true;
    row.control.focus();
  }
}
