// Which of the form's own fields differ from SWIFT's default, and the way back to it.
import { valueRead } from "./values.js";

// A placeholder is what SWIFT takes when the field is left empty; of a sentence there is nothing to compare.
function isDefault(field) {
  const typed = field.value.trim();
  const given = (field.placeholder || "").trim();
  if (typed === "" || typed === given) return true;
  return given !== "" && Number.isFinite(Number(given)) && valueRead(typed, field.dataset.kind) === Number(given);
}

export class Marks {
  constructor(form, fields, onReset) {
    this.fields = fields; // a function: another module has others
    form.addEventListener("click", (event) => {
      const button = event.target.closest("[data-reset]");
      if (!button) return;
      const field = form.querySelector(`#a-${button.dataset.reset}`);
      field.value = "";
      field.focus();
      onReset();
    });
  }

  /** Back to the defaults, all of them. */
  reset() {
    for (const field of this.fields()) field.value = "";
  }

  /** Marks the changed ones; gives how many there are. */
  show() {
    let count = 0;
    for (const field of this.fields()) {
      const changed = !isDefault(field);
      const button = field.closest("[data-field]").querySelector("[data-reset]");
      field.classList.toggle("is-changed", changed);
      if (button) button.hidden = !changed;
      count += changed ? 1 : 0;
    }
    return count;
  }
}
