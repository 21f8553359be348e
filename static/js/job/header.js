// Progress figures follow the frames; when the state changes the server renders the header anew.
import { duration, integer, number, timesLocalise } from "../core/format.js";
import { notice } from "../core/notice.js";
import { text } from "../core/texts.js";

// What a metric row says of the whole job; text() of a row's value, in the order of the header.
const FROM_METRICS = {
  lr: ["learning_rate", number],
  grad: ["grad_norm", number],
  epoch: ["epoch", (value) => String(Math.round(value * 100) / 100)],
};
// Seconds a step, as SWIFT writes them. Tokens are counted only where a job asks for that.
const SPEED = "train_speed(s/it)";
const TOKENS = "train_tokens_per_second";
const isAbove0 = (value) => typeof value === "number" && Number.isFinite(value) && value > 0;

/** "2.5 steps/s" or "3.1 s/step", and tokens where they are counted; null when the row does not say. */
export function speedShown(values) {
  const seconds = values[SPEED];
  const tokens = values[TOKENS];
  const parts = [];
  if (isAbove0(seconds)) parts.push(seconds < 1 ? text("speed_steps", { n: number(1 / seconds) }) : text("speed_seconds", { n: number(seconds) }));
  if (isAbove0(tokens)) parts.push(text("speed_tokens", { n: integer(Math.round(tokens)) }));
  return parts.length ? parts.join(" · ") : null;
}

const ENDED = ["succeeded", "failed", "stopped", "lost"];

export class Header {
  constructor(root, onState) {
    this.root = root;
    this.onState = onState;
    this.state = root.dataset.state;
    this.look = "wait";
    this.values = {};
    this.known = {};
    window.setInterval(() => this.elapsed(), 1000);
    this.elapsed();
  }

  part(name) {
    return this.root.querySelector(`[data-live="${name}"]`);
  }

  put(name, shown) {
    const part = this.part(name);
    if (part && part.textContent !== shown) part.textContent = shown;
  }

  elapsed() {
    const part = this.part("elapsed");
    if (!part || !part.dataset.from) return;
    const end = part.dataset.to ? new Date(part.dataset.to) : new Date();
    this.put("elapsed", duration((end - new Date(part.dataset.from)) / 1000));
  }

  status(data) {
    this.values = { ...this.values, ...data };
    this.figures();
    this.titleShow();
    if (data.status === this.state) {
      // The next step on the way, or how far this one is; after the first training step there is none any more
      if (data.status === "preparing" || this.root.querySelector("#job-header .lf-timeline")) this.reload();
      return;
    }
    const first = this.state;
    this.state = data.status;
    this.root.dataset.state = data.status;
    this.titleShow();
    this.reload();
    this.onState(data.status, first);
    const id = this.root.dataset.id;
    if (data.status === "succeeded") notice(text("status_succeeded", { id }));
    if (data.status === "failed") notice(text("status_failed", { id }), "error");
  }

  figures() {
    const data = this.values;
    if (data.progress === undefined) return;
    const bar = this.part("bar");
    bar.value = data.progress;
    this.put("progress", `${data.progress} %`);
    if (data.maxSteps) this.put("step", `${data.step} / ${data.maxSteps}`);
    if (data.loss !== null && data.loss !== undefined) this.put("loss", number(data.loss));
    this.put("eta", data.etaSeconds === null || data.etaSeconds === undefined ? "–" : duration(data.etaSeconds));
  }

  /** How far it is stands in the browser's tab as well, for who works elsewhere meanwhile. */
  titleShow() {
    if (!this.title) this.title = document.title;
    const active = !ENDED.includes(this.state) && this.values.progress > 0;
    document.title = active ? `${this.values.progress} % · ${this.title}` : this.title;
  }

  metricsShow() {
    for (const [name, shown] of Object.entries(this.known)) this.put(name, shown);
  }

  metric(row) {
    for (const [name, [value, shown]] of Object.entries(FROM_METRICS)) {
      const found = row.values[value];
      if (typeof found === "number" && Number.isFinite(found)) this.known[name] = shown(found);
    }
    const speed = speedShown(row.values);
    if (speed) this.known.speed = speed;
    this.metricsShow();
  }

  connection(look) {
    this.look = look;
    const part = this.part("connection");
    if (!part) return;
    part.dataset.look = look;
    const texts = { open: text("connection_live"), lost: text("connection_lost"), ended: text("connection_ended"), wait: "…" };
    part.querySelector("dd").textContent = texts[look];
  }

  connectionState(state) {
    if (state === "open") this.connection(ENDED.includes(this.state) ? "ended" : "open");
    else this.connection("lost");
  }

  /** The header as the server sees it now. Only the newest answer counts. */
  async reload() {
    this.asked = (this.asked || 0) + 1;
    const mine = this.asked;
    const response = await fetch(this.root.dataset.header, { credentials: "same-origin" });
    if (!response.ok || mine !== this.asked) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.getElementById("job-header");
    const old = document.getElementById("job-header");
    if (!fresh || old.querySelector("[data-rename]:not([hidden])")) return;
    old.replaceWith(document.adoptNode(fresh));
    timesLocalise(fresh);
    window.htmx.process(fresh);
    this.figures();
    this.elapsed();
    this.metricsShow();
    this.connection(this.look === "lost" ? "lost" : ENDED.includes(this.state) ? "ended" : "open");
  }
}
