// Readings of the node, of this job's GPUs and of its own processes; a short line behind each figure.
import { element } from "../core/dom.js";
import { gibibytes, momentOf, percent } from "../core/format.js";
import { text } from "../core/texts.js";

const POINTS = 90;
const WIDTH = 120;
const HEIGHT = 24;
const SVG = "http://www.w3.org/2000/svg";

function sparkline() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "lf-spark");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "polyline");
  svg.append(line);
  return { svg, line };
}

/** One figure with its line. most: the value of a full line. */
class Meter {
  constructor(box, label) {
    const { svg, line } = sparkline();
    this.line = line;
    this.value = element("span", { class: "lf-meter-value" });
    this.values = [];
    box.append(element("div", { class: "lf-meter" }, element("span", { class: "lf-meter-label lf-cut", title: label }, label), svg, this.value));
  }

  push(value, most, shown) {
    this.value.textContent = shown;
    this.values.push(Math.min(1, Math.max(0, most ? value / most : 0)));
    if (this.values.length > POINTS) this.values.shift();
    const step = WIDTH / (POINTS - 1);
    const from = WIDTH - step * (this.values.length - 1);
    this.line.setAttribute("points", this.values.map((share, index) => `${(from + index * step).toFixed(1)},${(HEIGHT - 1 - share * (HEIGHT - 2)).toFixed(1)}`).join(" "));
  }
}

export class Hardware {
  constructor(box, at) {
    this.box = box;
    this.readAt = at;
    this.meters = new Map();
    this.last = "";
  }

  meter(key, label) {
    if (!this.meters.has(key)) this.meters.set(key, new Meter(this.box, label));
    return this.meters.get(key);
  }

  show(key, label, value, most, shown) {
    if (value === null || value === undefined) return;
    this.meter(key, label).push(value, most, shown);
  }

  add(row) {
    const moment = momentOf(row);
    if (moment <= this.last) return;
    this.last = moment;
    const empty = this.box.querySelector('[data-hardware="empty"]');
    if (empty) empty.remove();
    row.gpus.forEach((gpu, index) => this.gpu(gpu, row.gpus.length > 1 ? ` ${index}` : ""));
    this.host(row.host);
    if (row.job) this.job(row.job, row.host);
    if (this.readAt) {
      const time = new Date(moment).toLocaleTimeString(document.documentElement.lang, { hour12: false });
      this.readAt.textContent = text("readings_at", { time });
    }
  }

  gpu(gpu, number) {
    const used = gpu.memory_used_bytes;
    const total = gpu.memory_total_bytes;
    this.show(`${gpu.uuid}-u`, text("gpu_utilization") + number, gpu.utilization_percent, 100, percent(gpu.utilization_percent || 0));
    this.show(`${gpu.uuid}-m`, text("gpu_memory") + number, used, total, `${gibibytes(used || 0)} / ${gibibytes(total || 0)}`);
    this.show(`${gpu.uuid}-t`, text("temperature") + number, gpu.temperature_c, 100, `${Math.round(gpu.temperature_c || 0)} °C`);
  }

  host(host) {
    this.show("cpu", text("cpu"), host.cpu_percent, 100, percent(host.cpu_percent));
    const used = host.memory_used_bytes;
    this.show("memory", text("memory"), used, host.memory_total_bytes, `${gibibytes(used)} / ${gibibytes(host.memory_total_bytes)}`);
  }

  job(job, host) {
    // 100 % is one core here, so the line is drawn against the largest value seen
    this.jobMost = Math.max(this.jobMost || 100, job.cpu_percent);
    this.show("job-cpu", text("job_cpu"), job.cpu_percent, this.jobMost, percent(job.cpu_percent));
    this.show("job-memory", text("job_memory"), job.memory_bytes, host.memory_total_bytes, gibibytes(job.memory_bytes));
  }
}
