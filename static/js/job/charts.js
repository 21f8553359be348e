// The loss curve and the small charts beside it. ECharts is loaded when the first value is there.
import { element, emptySay } from "../core/dom.js";
import { clockExact, number } from "../core/format.js";
import { text } from "../core/texts.js";
import { newest, points, smooth } from "./series.js";

const SMALL = ["learning_rate", "grad_norm", "token_acc"];
const ALSO = { validation: ["eval_loss", "eval_token_acc"] };
const REDRAW_MS = 250;
// Single values are marked while they can be told apart.
const MOST_DOTS = 40;
// Values that are no curve: totals of the end, and what other parts of the page show.
const NOT_CURVES = /^(epoch|train_|eval_(runtime|samples|steps)|total_flos|global_step|memory|best_metric$|loss$|eval_loss$)/;

const clock = (at) => clockExact(new Date(at));
const colour = (name) => window.getComputedStyle(document.documentElement).getPropertyValue(`--lf-${name}`).trim();

export class Charts {
  constructor(root, address) {
    this.address = address;
    this.main = root.querySelector("#chart-loss");
    this.smallBox = root.querySelector("#small-charts");
    this.slider = root.querySelector("#smoothing");
    this.logScale = root.querySelector("#log-scale");
    this.root = root;
    this.controls = root.querySelector("[data-chart-controls]");
    this.rows = [];
    this.small = new Map();
    this.loading = null;
    this.timer = 0;
    this.listen();
  }

  listen() {
    const output = this.slider.parentElement.querySelector("output");
    this.slider.addEventListener("input", () => {
      output.textContent = Number(this.slider.value).toFixed(2);
      this.redraw();
    });
    for (const input of this.root.querySelectorAll('input[name="axis"], #log-scale')) input.addEventListener("change", () => this.redraw());
    document.addEventListener("lf:theme", () => window.requestAnimationFrame(() => this.redraw()));
    new ResizeObserver(() => this.resize()).observe(this.main);
  }

  get axis() {
    return this.root.querySelector('input[name="axis"]:checked').value;
  }

  add(rows) {
    if (!rows.length) return;
    this.rows.push(...rows);
    this.redraw();
  }

  /** All that there was is here: what is empty still says why. */
  settled() {
    if (!this.rows.length) emptySay(this.main);
    if (!this.names().length) emptySay(this.smallBox);
  }

  resize() {
    if (this.chart) this.chart.resize();
    for (const { chart } of this.small.values()) chart.resize();
  }

  redraw() {
    if (this.timer || !this.rows.length) return;
    this.timer = window.setTimeout(async () => {
      this.timer = 0;
      try {
        await this.load();
        this.draw();
      } catch {
        this.main.querySelector("[data-chart-empty] p").textContent = text("chart_failed");
      }
    }, this.chart ? REDRAW_MS : 0);
  }

  async load() {
    if (!this.loading) this.loading = import(this.address);
    this.echarts = await this.loading;
    if (this.chart || this.main.clientWidth === 0) return;
    const empty = this.main.querySelector("[data-chart-empty]");
    const canvas = element("div", { class: "lf-chart-canvas" });
    this.main.classList.remove("is-empty");
    this.controls.hidden = false;
    this.main.append(canvas);
    this.chart = this.echarts.init(canvas, null, { renderer: "canvas" });
    this.chart.group = "job";
    empty.hidden = true;
  }

  draw() {
    if (!this.chart) return;
    const weight = Number(this.slider.value);
    const raw = points(this.rows, "loss", this.axis);
    const series = [
      this.line(text("training_loss"), raw, "chart-1", { opacity: weight ? 0.4 : 1, width: 1 }),
      this.line(text("validation_loss"), points(this.rows, "eval_loss", this.axis), "chart-2", { width: 2, symbol: true }),
    ];
    if (weight) series.push(this.line(text("training_loss_smoothed"), smooth(raw, weight), "chart-1", { width: 2 }));
    this.chart.setOption(this.options(series.filter((line) => line.data.length), this.logScale.checked), { notMerge: true });
    this.drawSmall();
  }

  line(name, data, paint, { opacity = 1, width = 1.5, symbol = false, dot = 6 } = {}) {
    const few = data.length < 2;
    return {
      type: "line",
      name,
      data,
      showSymbol: few || (symbol && data.length <= MOST_DOTS),
      symbol: "circle",
      symbolSize: symbol ? dot : 4,
      sampling: "lttb",
      lineStyle: { color: colour(paint), opacity, width },
      itemStyle: { color: colour(paint), opacity: few ? 1 : opacity },
      emphasis: { disabled: true },
    };
  }

  axes(isLog) {
    const label = { color: colour("chart-axis"), fontSize: 11, hideOverlap: true };
    const isTime = this.axis === "time";
    return {
      xAxis: {
        type: isTime ? "time" : "value",
        min: "dataMin",
        max: "dataMax",
        axisLine: { lineStyle: { color: colour("chart-grid") } },
        axisTick: { show: false },
        axisLabel: isTime ? label : { ...label, formatter: number },
        splitLine: { show: false },
      },
      yAxis: {
        type: isLog ? "log" : "value",
        scale: true,
        axisLabel: { ...label, formatter: number },
        splitLine: { lineStyle: { color: colour("chart-grid") } },
      },
    };
  }

  tooltip() {
    return {
      trigger: "axis",
      renderMode: "richText",
      confine: true,
      backgroundColor: colour("surface-raised"),
      borderColor: colour("border"),
      textStyle: { color: colour("text"), fontSize: 12 },
      axisPointer: { lineStyle: { color: colour("border-strong") } },
      formatter: (items) => {
        const at = items[0].axisValue;
        const head = this.axis === "time" ? clock(at) : `${text(`axis_${this.axis}`)} ${number(at)}`;
        return [head, ...items.map((item) => `${item.seriesName}  ${number(item.value[1])}`)].join("\n");
      },
    };
  }

  options(series, isLog) {
    return {
      animation: false,
      textStyle: { fontFamily: window.getComputedStyle(document.body).fontFamily },
      grid: { left: 12, right: 20, top: 36, bottom: 12, containLabel: true },
      legend: { top: 6, right: 16, icon: "roundRect", itemWidth: 12, itemHeight: 3, textStyle: { color: colour("text-secondary"), fontSize: 12 } },
      tooltip: this.tooltip(),
      dataZoom: [{ type: "inside", filterMode: "none", zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false }],
      ...this.axes(isLog),
      series,
    };
  }

  names() {
    const found = new Set(this.rows.flatMap((row) => Object.keys(row.values).filter((name) => typeof row.values[name] === "number")));
    const rest = [...found].filter((name) => !NOT_CURVES.test(name) && !SMALL.includes(name) && !ALSO.validation.includes(name)).sort();
    return [...SMALL.filter((name) => found.has(name)), ...rest];
  }

  drawSmall() {
    for (const name of this.names()) {
      const item = this.small.get(name) || this.smallMake(name);
      const validation = `eval_${name}`;
      const series = [this.line(name, points(this.rows, name, this.axis), "chart-3"), this.line(validation, points(this.rows, validation, this.axis), "chart-2", { symbol: true, dot: 3 })];
      item.value.textContent = number(newest(this.rows, name));
      item.chart.setOption(this.smallOptions(series.filter((line) => line.data.length)), { notMerge: true });
    }
    this.echarts.connect("job");
  }

  smallMake(name) {
    const empty = this.smallBox.querySelector("[data-small-empty]");
    if (empty) empty.remove();
    const known = ["learning_rate", "grad_norm", "token_acc"].includes(name);
    const value = element("span", { class: "lf-number" });
    const canvas = element("div", { class: "lf-chart-small" });
    this.smallBox.append(
      element("figure", { class: "lf-small-chart" }, element("figcaption", {}, element("span", { class: "lf-cut", title: name }, known ? text(name) : name), value), canvas),
    );
    const item = { chart: this.echarts.init(canvas, null, { renderer: "canvas" }), value };
    item.chart.group = "job";
    this.small.set(name, item);
    return item;
  }

  smallOptions(series) {
    const all = this.options(series, false);
    return {
      ...all,
      grid: { left: 4, right: 8, top: 8, bottom: 4, containLabel: true },
      legend: { show: false },
      // the line follows the pointer in the other charts; a box over so small a chart would hide it
      tooltip: { ...all.tooltip, showContent: false },
      dataZoom: [],
      xAxis: { ...all.xAxis, axisLabel: { show: false } },
      yAxis: { ...all.yAxis, splitNumber: 2 },
    };
  }
}
