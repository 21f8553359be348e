// Texts come translated from the page (json_script blocks whose id begins with "texts-").
const TEXTS = {};

export function textsLoad() {
  for (const block of document.querySelectorAll('script[type="application/json"][id^="texts-"]')) {
    Object.assign(TEXTS, JSON.parse(block.textContent));
  }
}

/** The text of this key with {name} replaced. */
export function text(key, values = {}) {
  if (!Object.keys(TEXTS).length) textsLoad();
  return (TEXTS[key] || key).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
}

/** A json_script block as data; null when the page has none of this id. */
export function pageData(id) {
  const block = document.getElementById(id);
  return block ? JSON.parse(block.textContent) : null;
}
