// What does not train works on a base model, or on a checkpoint of another job: chosen here.
import { api } from "../core/api.js";
import { element } from "../core/dom.js";
import { integer } from "../core/format.js";
import { notice } from "../core/notice.js";
import { text } from "../core/texts.js";

const SHOWN = 100;

export class SourceField {
  /** onChosen: (job, "<job>:<attempt>:<step>"); both empty for none. */
  constructor(form, onChosen) {
    this.job = form.querySelector("#source-job");
    this.checkpoint = form.querySelector("#source-checkpoint");
    this.onChosen = onChosen;
    this.rows = new Map();
    for (const moment of ["focus", "pointerdown"]) this.job.addEventListener(moment, () => this.load());
    this.job.addEventListener("change", () => this.checkpoints());
    this.checkpoint.addEventListener("change", () => this.chosen());
  }

  async load() {
    if (this.asked) return;
    this.asked = true;
    try {
      const found = (await api(`jobs/?page_size=${SHOWN}`)).results.filter((row) => ["sft", "pt", "rlhf"].includes(row.command) && row.attempt);
      for (const row of found) this.rows.set(String(row.id), row);
      this.job.append(...found.map((row) => element("option", { value: String(row.id) }, `#${row.id} ${row.name}`)));
    } catch (error) {
      this.asked = false;
      notice(error.message, "error");
    }
  }

  async checkpoints() {
    const id = this.job.value;
    this.checkpoint.hidden = true;
    this.checkpoint.replaceChildren();
    if (!id) {
      this.onChosen(null, "");
      return;
    }
    try {
      const { results } = await api(`jobs/${id}/checkpoints/?page_size=${SHOWN}`);
      const found = results.filter((one) => one.can_resume_weights);
      if (this.job.value !== id) return;
      this.checkpoint.replaceChildren(...found.map((one) => element("option", { value: `${id}:${one.id}` }, text("checkpoint_at", { step: integer(one.step) }))));
      this.checkpoint.hidden = !found.length;
      if (!found.length) notice(text("checkpoint_none", { job: id }), "error");
    } catch (error) {
      notice(error.message, "error");
    }
    this.chosen();
  }

  chosen() {
    this.onChosen(this.rows.get(this.job.value) || null, this.checkpoint.value);
  }

  clear() {
    this.job.value = "";
    this.checkpoint.hidden = true;
  }
}
