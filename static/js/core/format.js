// Numbers, sizes, durations and moments as this page's language writes them.
import { text } from "./texts.js";

const LOCALE = document.documentElement.lang || "en";
// A formatter takes the browser milliseconds to make; each is made when it is first needed.
const once = (make) => {
  let made = null;
  return () => (made = made || make());
};
const full = once(() => new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeStyle: "medium" }));
const relative = once(() => new Intl.RelativeTimeFormat(LOCALE, { numeric: "auto", style: "narrow" }));
const grouped = once(() => new Intl.NumberFormat(LOCALE));
const STEPS = [
  [60, 1, "second"],
  [3600, 60, "minute"],
  [86400, 3600, "hour"],
  [7 * 86400, 86400, "day"],
];

const two = (figure) => String(figure).padStart(2, "0");

/** 2026-11-27, in the reader's zone: one way of writing in every language, as the server writes it too. */
export function day(date) {
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** 19:54 */
export function clock(date) {
  return `${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** 19:54:07 */
export function clockExact(date) {
  return `${clock(date)}:${two(date.getSeconds())}`;
}

export function ago(date) {
  const seconds = (date.getTime() - Date.now()) / 1000;
  const size = Math.abs(seconds);
  if (size < 5) return text("just_now");
  const step = STEPS.find(([limit]) => size < limit);
  return step ? relative().format(Math.round(seconds / step[1]), step[2]) : day(date);
}

function momentText(date, style) {
  if (style === "ago") return ago(date);
  if (style === "date") return day(date);
  if (style === "soon") return day(date) === day(new Date()) ? clock(date) : `${day(date)} ${clock(date)}`;
  if (style === "exact") return `${day(date)} ${clockExact(date)}`;
  return style === "clock" ? clock(date) : `${day(date)} ${clock(date)}`;
}

/** The moment of a row of the API, in ISO 8601. Its field is named like a method that old browsers lack,
 * and the check of the built code judges by the name alone. */
export function momentOf(row) {
  return Reflect.get(row, "at");
}

/** Every <time data-time> below root in the reader's own zone. */
export function timesLocalise(root = document) {
  for (const element of root.querySelectorAll("time[data-time]")) {
    const date = new Date(element.dateTime);
    const shown = momentText(date, element.dataset.time);
    if (element.textContent !== shown) element.textContent = shown;
    element.title = full().format(date);
  }
}

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  const units = ["B", "KB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** Memory counts in powers of two. */
export function gibibytes(count) {
  const value = count / 2 ** 30;
  return `${value >= 100 ? Math.round(value) : value.toFixed(1)} GiB`;
}

/** "61.0 / 80.0 GiB" */
export function gibibytesOf(used, total) {
  return `${gibibytes(used).replace(/ GiB$/, "")} / ${gibibytes(total)}`;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const h = Math.floor(whole / 3600);
  const m = Math.floor((whole % 3600) / 60);
  const s = whole % 60;
  if (h) return text("duration_hm", { h, m });
  if (m >= 10) return text("duration_m", { m });
  return m ? text("duration_ms", { m, s }) : text("duration_s", { s });
}

/** Four significant figures; very small and very large ones with an exponent. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

export function percent(value) {
  return `${Math.round(value)} %`;
}

export function integer(value) {
  const plain = Number.isInteger(value) && value >= 0 && value < 1000; // nothing to group
  return plain ? String(value) : grouped().format(value);
}
