// The weights of another job that the new one begins with; the page is opened with them, here they can only be left.
import { text } from "../core/texts.js";

export class WeightsField {
  constructor(form, onChange) {
    this.box = form.querySelector('[data-field="weights_from"]');
    this.from = "";
    this.box.querySelector("[data-weights-drop]").addEventListener("click", () => {
      this.set("");
      onChange();
    });
  }

  value() {
    return { weights_from: this.from };
  }

  /** `<job>:<attempt>:<step>`, or empty for none. */
  set(from) {
    this.from = from || "";
    const [job, attempt, step] = this.from.split(":");
    this.box.hidden = !this.from;
    this.box.querySelector("[data-weights]").textContent = this.from && text(step ? "weights_of" : "weights_newest", { job, attempt, step });
  }
}
