// The base model: a combobox that also takes what nobody offers. Type and chat template follow from it.
import { api } from "../core/api.js";
import { debounce, element } from "../core/dom.js";
import { text } from "../core/texts.js";

const WAIT_MS = 150;
const SHOWN = 30;

export class ModelField {
  /** onTyped: a name that was being typed is whole now. onRevision: a pasted address named one. */
  constructor(form, onChange, onTyped, onRevision) {
    this.input = form.querySelector("#model");
    this.list = form.querySelector("#model-list");
    this.note = form.querySelector("[data-model-note]");
    this.type = form.querySelector("#model_type");
    this.template = form.querySelector("#template");
    this.names = form.dataset.names;
    this.onChange = onChange;
    this.onTyped = onTyped;
    this.onRevision = onRevision;
    this.hub = ""; // where a pasted address, or what the form was filled from, says that the model is
    this.typing = false;
    this.firstNote = this.note.textContent;
    this.marked = -1;
    this.asked = 0;
    this.listen();
  }

  listen() {
    const search = debounce(() => this.search(), WAIT_MS);
    this.input.addEventListener("input", () => {
      this.typing = !this.choosing;
      this.hub = "";
      if (this.choosing) return; // the answer, not a question
      this.close(); // what is listed answers an older question
      search();
      this.describeSoon();
    });
    this.input.addEventListener("focus", () => this.search());
    this.input.addEventListener("blur", () => {
      window.setTimeout(() => this.close(), 150);
      this.typed();
    });
    this.input.addEventListener("keydown", (event) => this.onKey(event));
    this.list.addEventListener("mousedown", (event) => {
      const option = event.target.closest("[data-id]");
      event.preventDefault();
      if (option) this.choose(option.dataset.id);
    });
    this.describeSoon = debounce(() => this.describe(), 400);
    for (const field of [this.type, this.template]) field.addEventListener("focus", () => this.namesLoad());
  }

  typed() {
    if (!this.typing) return;
    this.typing = false;
    this.onTyped();
  }

  /** What both fields offer, once. Without it they still take what is typed. */
  async namesLoad() {
    if (this.namesAsked) return;
    this.namesAsked = true;
    const response = await fetch(this.names, { credentials: "same-origin", headers: { "HX-Request": "true" } }).catch(() => null);
    this.namesAsked = Boolean(response && response.ok);
    if (this.namesAsked) document.body.insertAdjacentHTML("beforeend", await response.text());
  }

  onKey(event) {
    const options = [...this.list.children].filter((one) => one.dataset.id);
    const moves = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in moves && options.length) {
      event.preventDefault();
      this.mark(options, (this.marked + moves[event.key] + options.length) % options.length);
    } else if (event.key === "Enter" && !this.list.hidden) {
      event.preventDefault();
      if (this.marked >= 0) this.choose(options[this.marked].dataset.id);
      this.close();
    } else if (event.key === "Escape") this.close();
  }

  mark(options, at) {
    this.marked = at;
    options.forEach((option, index) => option.setAttribute("aria-selected", String(index === at)));
    this.input.setAttribute("aria-activedescendant", options[at].id);
    options[at].scrollIntoView({ block: "nearest" });
  }

  choose(id) {
    this.input.value = id;
    this.asked += 1; // a search still under way must not open the list again
    this.close();
    this.choosing = true;
    this.input.dispatchEvent(new Event("input", { bubbles: true }));
    this.choosing = false;
    this.describe();
  }

  close() {
    this.list.hidden = true;
    this.marked = -1;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  async search() {
    this.asked += 1;
    const mine = this.asked;
    let rows = [];
    let problem = "";
    try {
      const answer = await api(`swift/models/?search=${encodeURIComponent(this.input.value.trim())}&page_size=${SHOWN}`);
      rows = answer.results;
    } catch (error) {
      problem = text("search_failed", { reason: error.message });
    }
    if (mine !== this.asked || document.activeElement !== this.input) return;
    this.show(rows, problem || text("search_none"));
  }

  show(rows, none) {
    const options = rows.map((row, index) =>
      element("li", { class: "lf-option", role: "option", id: `model-${index}`, "data-id": row.model, "aria-selected": "false" }, element("span", { class: "lf-cut", title: row.model }, row.model), element("small", {}, [row.model_type, row.kind === "path" ? text("folder") : ""].filter(Boolean).join(" · "))),
    );
    this.list.replaceChildren(...(options.length ? options : [element("li", { class: "lf-option lf-muted" }, none)]));
    this.list.hidden = options.length === 1 && rows[0].model === this.input.value;
    this.input.setAttribute("aria-expanded", String(!this.list.hidden));
    this.marked = -1;
  }

  /** What the server makes of the model; shown as the placeholder of the two fields that override it. */
  followed({ modelType, template }) {
    this.type.placeholder = modelType || text("automatic");
    this.template.placeholder = template || text("automatic");
    if (!this.input.value.trim()) this.note.textContent = this.firstNote;
    else if (!modelType || !template) this.note.textContent = text("model_unknown");
    else this.note.textContent = text(this.certain === false ? "model_guess" : "model_certain");
  }

  /** A pasted address of a hub's page becomes the id that it names; which hub, and which revision, is kept. */
  takeId(typed, { model, kind, hub, revision }) {
    if (kind !== "hub" || model === typed || !typed.includes("/")) return;
    this.input.value = model;
    this.described = model;
    this.hub = hub;
    if (revision) this.onRevision(revision);
  }

  /** Whether SWIFT itself would find the same, or the platform has guessed. */
  async describe() {
    const model = this.input.value.trim();
    if (!model || model === this.described) return;
    this.described = model;
    try {
      const found = await api(`swift/models/describe/?model=${encodeURIComponent(model)}`);
      this.certain = found.is_certain;
      if (model === this.input.value.trim()) this.takeId(model, found);
    } catch {
      this.certain = undefined; // the preview says what is wrong with it
    }
    this.onChange();
  }
}
