// Who else sees a row and makes jobs from it: people by name, and one's own groups.
import { api } from "../core/api.js";
import { element, icon } from "../core/dom.js";
import { tell } from "../core/dialog.js";
import { text } from "../core/texts.js";

const SHOWN = 200;

class Shares {
  constructor(path, groups) {
    this.path = path;
    this.list = element("div", { class: "lf-picker", role: "list", "aria-label": text("share_with") });
    this.error = element("p", { class: "lf-error", role: "alert", hidden: true });
    this.name = element("input", { class: "form-control", id: "share-user", autocomplete: "off", spellcheck: "false", maxlength: 150 });
    this.root = element("div", { class: "lf-stack" }, this.person(), groups.length ? this.groups(groups) : null, this.error, this.list);
  }

  person() {
    const add = element("button", { class: "btn btn-plain", type: "button", onclick: () => this.add({ user: this.name.value.trim() }) }, icon("plus"), text("share_add"));
    this.name.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      add.click();
    });
    return element("div", {}, element("label", { class: "form-label", for: "share-user" }, text("share_user")), element("div", { class: "lf-row" }, this.name, add));
  }

  groups(names) {
    const choice = element("select", { class: "form-select", id: "share-group" }, ...names.map((name) => element("option", { value: name }, name)));
    const add = element("button", { class: "btn btn-plain", type: "button", onclick: () => this.add({ group: choice.value }) }, icon("plus"), text("share_add"));
    return element("div", {}, element("label", { class: "form-label", for: "share-group" }, text("share_group")), element("div", { class: "lf-row" }, choice, add));
  }

  async load() {
    const { results } = await api(`${this.path}?page_size=${SHOWN}`);
    const rows = results.map((row) => this.row(row));
    this.list.replaceChildren(...(rows.length ? rows : [element("p", { class: "lf-item lf-muted" }, text("share_none"))]));
  }

  row({ kind, name }) {
    const remove = element("button", { class: "btn btn-quiet btn-sm", type: "button", onclick: () => this.remove(kind, name) }, icon("x"), text("share_remove"));
    return element("div", { class: "lf-item", role: "listitem" }, element("span", { class: "lf-item-body lf-cut" }, name), kind === "group" ? element("span", { class: "lf-badge" }, text("share_is_group")) : null, remove);
  }

  async try(work) {
    this.error.hidden = true;
    try {
      await work();
      await this.load();
    } catch (error) {
      this.error.textContent = Object.values(error.fields).flat()[0] || error.message;
      this.error.hidden = false;
    }
  }

  add(body) {
    return this.try(async () => {
      await api(this.path, { method: "POST", body });
      this.name.value = "";
    });
  }

  remove(kind, name) {
    return this.try(() => api(`${this.path}?${kind}=${encodeURIComponent(name)}`, { method: "DELETE" }));
  }
}

/** path: of the API, with a slash at its end; groups: names of the groups that one is in. */
export async function sharesAsk(path, groups, title) {
  const shares = new Shares(path, groups);
  await shares.load();
  return tell({ title, extra: shares.root });
}

