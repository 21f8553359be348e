// Arguments with a field of their own above the list: a search among all finds them too, and leads there.
import { element } from "../core/dom.js";
import { text } from "../core/texts.js";

const PREFIX = "arguments.";

export class OwnFields {
  /** box: where they are shown; form: whose fields they are, read before any other list is built in it. */
  constructor(form, box) {
    this.box = box;
    const fields = [...form.querySelectorAll(`[data-field^="${PREFIX}"]`)];
    this.rows = fields.map((field) => this.row(field));
    box.append(element("section", { class: "lf-group" }, element("h3", {}, text("arguments_own")), ...this.rows.map(({ root }) => root)));
  }

  row(field) {
    const name = field.dataset.field.slice(PREFIX.length);
    const head = field.querySelector(".form-label") || field.closest("section").querySelector("h2");
    const label = head.firstChild.textContent.trim();
    const root = element(
      "div",
      { class: "lf-argument" },
      element("div", { class: "lf-argument-name" }, element("span", { class: "lf-cut" }, label), element("small", { class: "lf-cut lf-mono" }, `--${name}`)),
      element("button", { class: "btn btn-plain btn-sm", type: "button", onclick: () => this.go(field) }, text("arguments_own_go")),
    );
    return { root, field, words: `${name.replace(/_/g, " ")} ${label}`.toLowerCase() };
  }

  go(field) {
    field.scrollIntoView({ block: "center" });
    field.querySelector("input:checked, input:not([type=radio]), select, textarea").focus({ preventScroll: true });
  }

  /** Shows those that have all words; gives how many. Without a word none: they stand above. */
  filter(words) {
    let shown = 0;
    for (const row of this.rows) {
      row.root.hidden = !words.length || row.field.closest("[hidden]") !== null || !words.every((word) => row.words.includes(word));
      shown += row.root.hidden ? 0 : 1;
    }
    this.box.hidden = !shown;
    return shown;
  }
}
