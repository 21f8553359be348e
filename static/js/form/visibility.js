// When a field means something at all; by the rules of loraforge/swift/forms/visibility.py.
const ANY = "*";
const ROUNDS = 4; // what is hidden may decide about others, which decide about others

function matches(value, values) {
  const items = Array.isArray(value) ? value : [value];
  if (values.includes(ANY) && items.some((item) => item !== null && item !== undefined && item !== false && item !== "")) return true;
  return items.some((item) => values.includes(item));
}

/** when: conditions, all of which must hold; valueOf: what an argument has. */
export function holds(when, valueOf) {
  return when.every((condition) => condition.some((alternative) => Object.entries(alternative).every(([name, values]) => matches(valueOf(name), values))));
}

/** "true" of a select is true. */
function plain(value) {
  return { true: true, false: false }[value] ?? value;
}

/** Takes the given arguments apart: those that have an effect, and the names of the others. */
export function effective(given, conditions, defaults) {
  const kept = { ...given };
  const off = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const valueOf = (name) => (name in kept ? plain(kept[name]) : defaults[name]);
    const lost = Object.keys(kept).filter((name) => conditions.has(name) && !holds(conditions.get(name), valueOf));
    for (const name of lost) delete kept[name];
    off.push(...lost);
    if (!lost.length) break;
  }
  return { kept, off, shown: (when) => holds(when, (name) => (name in kept ? plain(kept[name]) : defaults[name])) };
}
