// Fails when a built style sheet uses what the oldest browsers that we serve (package.json,
// browserslist) do not know. doiuse asks caniuse's tables; UNKNOWN holds what it does not look for.
//
//   node tools/check_css.mjs
import { readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import doiuse from "doiuse";
import postcss from "postcss";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const DIST = join(ROOT, "static/dist");
const BROWSERS = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")).browserslist;

// Known to those browsers in the part that is used, or a decoration whose absence harms nobody.
const HARMLESS = [
  "text-decoration", // the styles and thickness used are there since Firefox 36, Chrome 57
  "css-sticky", // partial only inside table heads' rows
  "multicolumn", // column-gap, as part of grid and flex layouts
  "css-masks", // -webkit- prefixed beside it
  "css-scrollbar", // decoration
  "css-backdrop-filter", // decoration
  "css-clip-path", // basic shapes are there since Chrome 55, Firefox 54; partial means references to SVG
  "css-autofill", // -webkit- prefixed beside it
];

// pattern -> first versions that know it
const UNKNOWN = [
  [/@container\b/, "container queries: Chrome 105, Firefox 110"],
  [/@layer\b/, "cascade layers: Chrome 99, Firefox 97"],
  [/@property\b/, "registered properties: Firefox 128"],
  [/:has\(/, ":has(): Chrome 105, Firefox 121"],
  [/\bcolor-mix\(/, "color-mix(): Chrome 111, Firefox 113"],
  [/\b(?:oklch|oklab|lch|lab|light-dark)\(/, "newer colour functions: Chrome 111, Firefox 113"],
  [/\d(?:dvh|svh|lvh|dvw|svw|cqw|cqh|cqi)\b/, "newer viewport units: Chrome 108, Firefox 101"],
  [/(?:^|[;{\s])aspect-ratio\s*:/, "aspect-ratio: Firefox 89"],
  [/(?:^|[;{\s])accent-color\s*:/, "accent-color: Chrome 93, Firefox 92"],
  [/(?:^|[;{\s])scrollbar-gutter\s*:/, "scrollbar-gutter: Chrome 94, Firefox 97"],
  [/(?:^|[;{\s])text-wrap\s*:/, "text-wrap: Chrome 114, Firefox 121"],
  [/(?:^|[;{\s])(?:translate|rotate|scale)\s*:/, "single transforms: Chrome 104"],
  [/:\s*subgrid\b/, "subgrid: Chrome 117"],
  [/::backdrop/, "dialog: Firefox 98"],
];

async function faultsOf(name) {
  const css = readFileSync(join(DIST, name), "utf8");
  const faults = new Set();
  const judge = doiuse({
    browsers: BROWSERS,
    ignore: HARMLESS,
    onFeatureUsage: ({ message, usage }) => {
      faults.add(`${message.replace(/^.*?:\d+:\d+: /, "")}: ${usage.toString().slice(0, 100)}`);
    },
  });
  await postcss(judge).process(css, { from: name });
  for (const [pattern, what] of UNKNOWN) {
    const found = pattern.exec(css);
    if (found) faults.add(`${what}: ...${css.slice(found.index, found.index + 80)}`);
  }
  return [...faults].map((fault) => `static/dist/${name}: ${fault}`);
}

const sheets = readdirSync(DIST).filter((name) => name.endsWith(".css"));
const faults = (await Promise.all(sheets.map(faultsOf))).flat();
console.log(faults.join("\n") || `${sheets.length} style sheets use nothing newer than ${BROWSERS.join(", ")}`);
process.exitCode = faults.length === 0 ? 0 : 1;
