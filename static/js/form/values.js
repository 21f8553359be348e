// Between what stands in a field and what the API takes. What cannot be read goes out as it is typed, so
// that the server says what is wrong with it, at its field.

const number = (typed) => (Number.isFinite(Number(typed)) ? Number(typed) : typed);
const bool = (typed) => ({ true: true, false: false })[typed] ?? typed;

function json(typed) {
  try {
    return JSON.parse(typed);
  } catch {
    return typed;
  }
}

const words = (typed) => typed.split(/\s+/);
const numbers = (typed) => typed.split(/[\s,]+/).map(number);
const READERS = { bool, number, int: number, float: number, json, list: words, list_str: words, list_int: numbers, list_float: numbers };

/** The value that a field holds; undefined when it is empty, which means the default. */
export function valueRead(raw, kind) {
  const typed = raw.trim();
  if (typed === "") return undefined;
  if (kind === "text") return raw;
  return READERS[kind] ? READERS[kind](typed) : typed;
}

export function valueShow(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.join(" ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
