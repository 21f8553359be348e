// Between what stands in a field and what the API takes. What cannot be read goes out as it is typed, so
// that the server says what is wrong with it, at its field.

export function valueRead(raw, kind) {
  const typed = raw.trim();
  if (typed === "") return undefined;
  if (kind === "text") return raw;
  if (kind === "bool") return typed === "true" ? true : typed === "false" ? false : typed;
  if (kind === "number" || kind === "int" || kind === "float") return Number.isFinite(Number(typed)) ? Number(typed) : typed;
  if (kind === "json") {
    try {
      return JSON.parse(typed);
    } catch {
      return typed;
    }
  }
  if (kind === "list" || kind === "list_str") return typed.split(/\s+/);
  if (kind === "list_int" || kind === "list_float") return typed.split(/[\s,]+/).map((one) => (Number.isFinite(Number(one)) ? Number(one) : one));
  return typed;
}

export function valueShow(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.join(" ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
