// What a job does if something goes wrong. People write hours and minutes, the API takes seconds.
const HOUR_S = 3600;
const MINUTE_S = 60;

/** Seconds of what was typed; what is no number goes out as it is, so that the server says so at its field. */
function seconds(typed, unit, empty) {
  const text = typed.trim().replace(",", ".");
  if (text === "") return empty;
  const number = Number(text);
  return Number.isFinite(number) ? Math.round(number * unit) : text;
}

const shown = (value, unit) => String(Number((value / unit).toFixed(4)));

export class TroubleField {
  constructor(form) {
    this.form = form;
    this.memory = form.querySelector("#oom-recovery");
    this.run = form.querySelector("#max-run");
    this.save = form.querySelector("#save-every");
  }

  value() {
    return {
      on_node_lost: this.form.querySelector('input[name="on_node_lost"]:checked').value,
      oom_recovery: this.memory.checked,
      max_run_s: seconds(this.run.value, HOUR_S, 0),
      save_every_s: seconds(this.save.value, MINUTE_S, null),
    };
  }

  set(draft) {
    this.form.querySelector(`input[name="on_node_lost"][value="${draft.on_node_lost === "restart" ? "restart" : "wait"}"]`).checked = true;
    this.memory.checked = Boolean(draft.oom_recovery);
    this.run.value = draft.max_run_s ? shown(draft.max_run_s, HOUR_S) : "";
    this.save.value = typeof draft.save_every_s === "number" ? shown(draft.save_every_s, MINUTE_S) : "";
  }
}
