// What the server finds wrong, at the field it belongs to; what has no field here stands in the summary.
import { element } from "../core/dom.js";
import { text } from "../core/texts.js";

export class Findings {
  constructor(form, onReveal) {
    this.form = form;
    this.list = form.querySelector("[data-problems]");
    this.verdict = form.querySelector("[data-verdict]");
    this.onReveal = onReveal;
  }

  clear() {
    for (const note of this.form.querySelectorAll("[data-finding]")) note.remove();
    for (const input of this.form.querySelectorAll(".is-invalid")) {
      input.classList.remove("is-invalid");
      input.removeAttribute("aria-invalid");
      const hint = document.getElementById(`h-${input.id.replace(/^a-/, "")}`);
      if (hint) input.setAttribute("aria-describedby", hint.id);
      else input.removeAttribute("aria-describedby");
    }
    this.list.replaceChildren();
  }

  /** problems and warnings: [{field, text}]. ready: whether enough is there to say "ready". */
  show(problems, warnings, ready) {
    this.clear();
    for (const problem of problems) this.place(problem, "lf-error");
    for (const warning of warnings) this.place(warning, "lf-warning");
    this.verdict.className = `lf-push lf-small ${problems.length ? "lf-bad" : "lf-muted"}`;
    this.verdict.textContent = problems.length ? text("problems", { count: problems.length }) : ready ? text("no_problems") : "";
  }

  place({ field, text: said }, look) {
    const box = this.form.querySelector(`[data-field="${CSS.escape(field)}"]`);
    const isError = look === "lf-error";
    if (box) {
      const id = `finding-${field.replace(/\W/g, "-")}`;
      box.append(element("p", { class: look, "data-finding": field, id, role: isError ? "alert" : null }, said));
      const input = box.querySelector("input:not([type=radio]):not([type=checkbox]):not([type=file]), select, textarea");
      if (input && isError && !field.startsWith("dataset")) {
        input.classList.add("is-invalid");
        input.setAttribute("aria-invalid", "true");
        input.setAttribute("aria-describedby", id);
      }
    }
    if (isError || !box) this.list.append(this.line(field, said, look));
  }

  line(field, said, look) {
    const go = () => this.go(field);
    return element("li", { class: look }, element("button", { type: "button", onclick: go }, said));
  }

  async go(field) {
    const box = this.form.querySelector(`[data-field="${CSS.escape(field)}"]`);
    if (field.startsWith("arguments.") && (!box || box.closest("#all-arguments"))) {
      await this.onReveal(field.slice("arguments.".length));
      return;
    }
    if (!box) return;
    box.scrollIntoView({ block: "center" });
    const input = box.querySelector("input, select, textarea");
    if (input) input.focus({ preventScroll: true });
  }
}
