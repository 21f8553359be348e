// Where each line of a monospaced log stands, so that only what is seen is in the document.
const TAB = 4;

// East Asian wide characters and emoji take two cells.
const FIRST_WIDE = 0x1100;
const WIDE = [
  [0x1100, 0x115f],
  [0x2e80, 0xa4cf],
  [0xac00, 0xd7a3],
  [0xf900, 0xfaff],
  [0xfe30, 0xfe6f],
  [0xff00, 0xff60],
  [0xffe0, 0xffe6],
  [0x1f300, 0x1faff],
  [0x20000, 0x3fffd],
];

function cells(code) {
  if (code < FIRST_WIDE) return 1;
  return WIDE.some(([from, to]) => code >= from && code <= to) ? 2 : 1;
}

/** Rows that a text takes when it breaks anywhere after `columns` cells. */
export function rowsOf(line, columns) {
  if (line.length * 2 <= columns) return 1;
  let rows = 1;
  let used = 0;
  for (const letter of line) {
    const size = letter === "\t" ? TAB - (used % TAB) : cells(letter.codePointAt(0));
    if (used + size > columns) {
      rows += 1;
      used = 0;
    }
    used += size;
  }
  return rows;
}

/** Rows before each line; ends[i] is the first row behind line i. */
export class Layout {
  constructor() {
    this.ends = new Float64Array(1024);
    this.count = 0;
  }

  clear() {
    this.count = 0;
  }

  push(rows) {
    if (this.count === this.ends.length) {
      const larger = new Float64Array(this.ends.length * 2);
      larger.set(this.ends);
      this.ends = larger;
    }
    this.ends[this.count] = this.total + rows;
    this.count += 1;
  }

  get total() {
    return this.count ? this.ends[this.count - 1] : 0;
  }

  start(index) {
    return index ? this.ends[index - 1] : 0;
  }

  /** The line that covers this row. */
  find(row) {
    let low = 0;
    let high = this.count - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.ends[middle] > row) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Line `index` takes `rows` rows after all. */
  correct(index, rows) {
    const difference = rows - (this.ends[index] - this.start(index));
    if (difference) for (let at = index; at < this.count; at += 1) this.ends[at] += difference;
    return difference;
  }
}
