// Which datasets a job trains on: one's own, uploaded right here, or remote ones by their id.
import { api } from "../core/api.js";
import { element, icon } from "../core/dom.js";
import { integer } from "../core/format.js";
import { text } from "../core/texts.js";
import { uploaderMake } from "../core/uploader.js";

export class DatasetField {
  constructor(form, rows, onChange) {
    this.root = form.querySelector('[data-field="datasets"]');
    this.rows = rows;
    this.chosen = [];
    this.validation = [];
    this.onChange = onChange;
    this.picks = this.root.querySelector("[data-picks]");
    this.picked = this.root.querySelector("[data-picked]");
    this.search = this.root.querySelector("#dataset-search");
    this.listen();
    this.show();
    if (!rows.length) this.way("upload");
  }

  listen() {
    for (const input of this.root.querySelectorAll('input[name="dataset-way"]')) input.addEventListener("change", () => this.way(input.value));
    this.search.addEventListener("input", () => this.show());
    this.picks.addEventListener("change", (event) => this.toggle(Number(event.target.value), event.target.checked));
    uploaderMake(this.root.querySelector("[data-upload]"), (dataset) => this.arrived(dataset));
    const remote = this.root.querySelector("#remote-id");
    this.root.querySelector("[data-remote-add]").addEventListener("click", () => this.remoteAdd(remote));
    remote.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      this.remoteAdd(remote);
    });
  }

  way(name) {
    this.root.querySelector(`input[name="dataset-way"][value="${name}"]`).checked = true;
    for (const part of this.root.querySelectorAll("[data-way]")) part.hidden = part.dataset.way !== name;
  }

  arrived(dataset) {
    this.rows.unshift({ id: dataset.id, name: dataset.name, kind: dataset.kind, state: dataset.state, rows: dataset.rows, format: dataset.row_format });
    if (dataset.state === "ready") this.toggle(dataset.id, true);
    else this.show();
  }

  async remoteAdd(input) {
    const id = input.value.trim();
    if (id && (await this.remote(id))) input.value = "";
  }

  /** Chooses a remote dataset by its id; false when that may not be. */
  async remote(id) {
    const error = this.root.querySelector("[data-remote-error]");
    error.hidden = true;
    const known = this.rows.find((row) => row.kind === "remote" && row.name === id);
    try {
      if (known) this.toggle(known.id, true);
      else this.arrived(await api("datasets/", { method: "POST", body: { remote_id: id } }));
      return true;
    } catch (problem) {
      error.textContent = problem.message;
      error.hidden = false;
      return false;
    }
  }

  toggle(id, on) {
    this.chosen = this.chosen.filter((one) => one !== id);
    if (on) this.chosen.push(id);
    const held = [this.picks, this.picked].some((part) => part.contains(document.activeElement));
    this.show();
    const box = this.picks.querySelector(`input[value="${id}"]`);
    if (held && box) box.focus(); // the keyboard goes on where it was: the rows are new elements
    this.onChange();
  }

  set(ids) {
    this.chosen = ids.filter((id) => this.rows.some((row) => row.id === id));
    this.show();
  }

  /** Validation sets come with a source or an import; here they can only be left out. */
  validationSet(ids) {
    const field = this.root.parentElement.querySelector('[data-field="validation_datasets"]');
    const known = ids.filter((id) => this.rows.some((row) => row.id === id));
    const changed = (rest) => {
      this.validationSet(rest);
      this.onChange();
    };
    this.validation = known;
    field.classList.toggle("is-used", known.length > 0);
    field.querySelector("[data-validation]").replaceChildren(...known.map((id) => this.pill(this.rows.find((row) => row.id === id), () => changed(known.filter((one) => one !== id)))));
  }

  names() {
    return this.chosen.map((id) => this.rows.find((row) => row.id === id).name);
  }

  show() {
    const words = this.search.value.trim().toLowerCase();
    const found = this.rows.filter((row) => row.name.toLowerCase().includes(words));
    this.picks.replaceChildren(...found.map((row) => this.pick(row)));
    this.root.querySelector("[data-picks-empty]").hidden = this.rows.length > 0;
    this.search.hidden = this.rows.length < 6;
    this.picked.replaceChildren(...this.chosen.map((id) => this.pill(this.rows.find((row) => row.id === id))));
  }

  pick(row) {
    const ready = row.state === "ready";
    const box = element("input", { class: "form-check-input", type: "checkbox", value: String(row.id), disabled: !ready });
    box.checked = this.chosen.includes(row.id);
    const about = row.kind === "remote" ? text("remote") : text("rows", { count: integer(row.rows) });
    return element(
      "label",
      { class: `lf-pick ${ready ? "" : "is-off"}` },
      box,
      element("span", { class: "lf-cut", title: row.name }, row.name),
      element("span", { class: "lf-small lf-muted lf-push" }, ready ? about : text("not_usable")),
    );
  }

  pill(row, leave = () => this.toggle(row.id, false)) {
    const remove = element("button", { type: "button", "aria-label": text("remove", { name: row.name }), onclick: leave }, icon("x"));
    return element("span", { class: "lf-pill" }, element("span", { class: "lf-cut", title: row.name }, row.name), remove);
  }
}
