// What the draft will take, in the summary of the new-job form: the server says it, in the page's language.
import { integer } from "../core/format.js";

/** draft: nothing is known of one without a model. */
export function forecastShow(form, draft, forecast) {
  for (const part of form.querySelectorAll("[data-forecast]")) {
    const value = draft.model ? forecast[part.dataset.forecast] : null;
    part.textContent = typeof value === "number" ? integer(value) : value || "–";
  }
}
