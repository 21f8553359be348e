// Readings of the node, of this job's GPUs and of its own processes; a short line behind each figure.
import { element, emptySay } from "../core/dom.js";
import { clockExact, gibibytes, gibibytesOf, momentOf, percent } from "../core/format.js";
import { text } from "../core/texts.js";

const POINTS = 90;
const WIDTH = 120;
const HEIGHT = 24;
const SVG = "http://www.w3.org/2000/svg";

function sparkline() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "lf-spark is-empty");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "polyline");
  svg.append(line);
  return { svg, line };
}

/** One figure with its line. most: the value of a full line. */
class Meter {
  constructor(box, label) {
    const { svg, line } = sparkline();
    this.svg = svg;
    this.line = line;
    this.value = element("span", { class: "lf-meter-value" });
    this.values = [];
    box.append(element("div", { class: "lf-meter" }, element("span", { class: "lf-meter-label lf-cut", title: label }, label), svg, this.value));
  }

  push(value, most, shown) {
    this.value.textContent = shown;
    this.values.push(Math.min(1, Math.max(0, most ? value / most : 0)));
    if (this.values.length > POINTS) this.values.shift();
    if (this.values.length > 1) this.svg.classList.remove("is-empty"); // one value draws no line
    const step = WIDTH / (POINTS - 1);
    const from = WIDTH - step * (this.values.length - 1);
    this.line.setAttribute("points", this.values.map((share, index) => `${(from + index * step).toFixed(1)},${(HEIGHT - 1 - share * (HEIGHT - 2)).toFixed(1)}`).join(" "));
  }
}

/** A block of figures of one thing: a card, the machine, the job. */
class Group {
  constructor(box, name) {
    this.box = element("div", { class: "lf-meters" }, name ? element("h3", { class: "lf-meters-name" }, name) : null);
    this.meters = new Map();
    box.append(this.box);
  }

  show(key, label, value, most, shown) {
    if (value === null || value === undefined) return;
    if (!this.meters.has(key)) this.meters.set(key, new Meter(this.box, label));
    this.meters.get(key).push(value, most, shown);
  }
}

export class Hardware {
  constructor(box, at) {
    this.box = box;
    this.readAt = at;
    this.groups = new Map();
    this.last = "";
  }

  group(key, name) {
    if (!this.groups.has(key)) {
      const made = new Group(this.box, name);
      this.groups.set(key, made);
      // One order on every page, whichever reading comes first: GPUs, the job, the machine
      const machine = this.groups.get("host");
      if (machine && machine !== made) this.box.append(machine.box);
    }
    return this.groups.get(key);
  }

  add(row) {
    const moment = momentOf(row);
    if (moment <= this.last) return;
    this.last = moment;
    const empty = this.box.querySelector('[data-hardware="empty"]');
    if (empty) empty.remove();
    row.gpus.forEach((gpu, index) => this.gpu(gpu, index, row.gpus.length));
    if (row.job) this.job(row.job, row.host);
    this.host(row.host);
    if (this.readAt) {
      this.readAt.textContent = text("readings_at", { time: clockExact(new Date(moment)) });
    }
  }

  settled() {
    emptySay(this.box);
  }

  gpu(gpu, index, count) {
    const used = gpu.memory_used_bytes;
    const total = gpu.memory_total_bytes;
    const group = this.group(gpu.uuid, count > 1 ? text("gpu_number", { n: index }) : "");
    group.show("u", text("gpu_utilization"), gpu.utilization_percent, 100, percent(gpu.utilization_percent || 0));
    group.show("m", text("gpu_memory"), used, total, gibibytesOf(used || 0, total || 0));
    group.show("t", text("temperature"), gpu.temperature_c, 100, `${Math.round(gpu.temperature_c || 0)} °C`);
    this.powerMost = Math.max(this.powerMost || 0, gpu.power_w || 0);
    group.show("p", text("power"), gpu.power_w, this.powerMost, `${Math.round(gpu.power_w || 0)} W`);
  }

  host(host) {
    const group = this.group("host", text("this_machine"));
    group.show("cpu", text("cpu"), host.cpu_percent, 100, percent(host.cpu_percent));
    const used = host.memory_used_bytes;
    group.show("memory", text("memory"), used, host.memory_total_bytes, gibibytesOf(used, host.memory_total_bytes));
  }

  job(job, host) {
    // 100 % is one core here, so the line is drawn against the largest value seen
    this.jobMost = Math.max(this.jobMost || 100, job.cpu_percent);
    const group = this.group("job", text("this_job"));
    group.show("cpu", text("cpu"), job.cpu_percent, this.jobMost, percent(job.cpu_percent));
    group.show("memory", text("memory"), job.memory_bytes, host.memory_total_bytes, gibibytes(job.memory_bytes));
  }
}
