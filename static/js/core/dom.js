// Small helpers to build elements. Text is always set as text, never as HTML.

/** An element; attributes beginning with "on" are listeners, children are nodes or strings. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** After the first answer: what is still empty below root says so instead of "Loading …". */
export function emptySay(root) {
  for (const part of root.querySelectorAll("[data-empty]")) part.textContent = part.dataset.empty;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "lf-icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `${document.documentElement.dataset.icons}#${name}`);
  svg.append(use);
  return svg;
}

/** Calls fn once, wait_ms after the last call. */
export function debounce(fn, waitMs) {
  let timer = 0;
  return (...values) => {
    window.clearTimeout(timer);
    timer = window.setTimeout(() => fn(...values), waitMs);
  };
}

/** Calls fn once the page has loaded and been painted: for what nobody needs before. */
export function afterLoad(fn) {
  const soon = () => window.setTimeout(fn, 0);
  if (document.readyState === "complete") soon();
  else window.addEventListener("load", soon, { once: true });
}

export async function copyText(value) {
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(value);
    return;
  }
  // Plain http on another machine has no clipboard API
  const area = element("textarea", { class: "lf-skip" });
  area.value = value;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
