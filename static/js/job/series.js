// Metric rows as points of series. A row is {attempt, from, to, step, at, values}.

import { momentOf } from "../core/format.js";

/** Where a row stands on an axis; null when it has no such place. */
export function place(row, axis) {
  if (axis === "time") return new Date(momentOf(row)).getTime();
  if (axis === "epoch") return typeof row.values.epoch === "number" ? row.values.epoch : null;
  return row.step === null || row.step === undefined ? null : row.step;
}

/** Points [x, y] of one value. Where a later attempt went over the same steps again, its values stand. */
export function points(rows, name, axis) {
  const found = [];
  let attempt = 0;
  for (const row of rows) {
    const value = row.values[name];
    const x = place(row, axis);
    if (typeof value !== "number" || !Number.isFinite(value) || x === null) continue;
    if (row.attempt !== attempt) {
      attempt = row.attempt;
      while (axis !== "time" && found.length && found[found.length - 1][0] >= x) found.pop();
    }
    found.push([x, value]);
  }
  return found;
}

/** Exponential moving average without the bias of its beginning; weight 0 leaves the line as it is. */
export function smooth(line, weight) {
  let last = 0;
  let debias = 0;
  return line.map(([x, y]) => {
    last = last * weight + (1 - weight) * y;
    debias = debias * weight + (1 - weight);
    return [x, last / debias];
  });
}

/** The newest value of a name, or undefined. */
export function newest(rows, name) {
  for (let index = rows.length - 1; index >= 0; index -= 1) {
    const value = rows[index].values[name];
    if (typeof value === "number") return value;
  }
  return undefined;
}
