// Builds static/dist, what the pages load. One rule: the bundle NAME is static/src/NAME (third-party
// code), then static/js/NAME or static/css/NAME (ours), whichever of the two exist.
//
//   static/dist/base.js    htmx, Bootstrap's collapse, dropdown and modal, then static/js/base.js
//   static/dist/base.css   Tabler (trimmed), the tokens, then static/css/base.css
//   static/dist/chart.js   ECharts: a module asks for it by import("./chart.js")
//   static/dist/upload.js  tus
//   static/dist/FEATURE.js one for each static/js/FEATURE.js
//
// Everything is an ES module; code that two bundles share is split off into chunk-*.js, so htmx and
// ECharts exist once however many bundles name them. Load bundles by <script type="module">. File names
// carry no hash: the manifest storage adds it. modules.json says which chunks each bundle begins with, so
// that a page can ask for them before its script has been read.
//
//   node tools/build_frontend.mjs [--sizes]
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";
import postcss from "postcss";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const DIST = join(ROOT, "static/dist");
const FRESH = join(ROOT, "static/.dist-new");
const STALE = join(ROOT, "static/.dist-old");
const TARGET = ["chrome90", "edge90", "firefox88", "safari14"];
// base.css begins with these; no file of static/ imports them, since the manifest storage reads every
// style sheet there and could not resolve the name of a package.
const BASE_CSS = ["@tabler/core/dist/css/tabler.css", "./static/src/tokens.css"];
const NOT_BUNDLES = new Set(["tokens.css"]);

// Families of Tabler's rules that no page of ours uses. A family is dropped only as a whole, so that a
// page may use any other class of Tabler's without a change here.
const BRANDS =
  "x|facebook|twitter|linkedin|google|youtube|vimeo|dribbble|github|instagram|pinterest|vk|rss|flickr|bitbucket|tabler";
const UNUSED_RULES = [
  new RegExp(`\\.(?:btn|btn-outline|btn-ghost|bg|text|border|link|badge)-(?:${BRANDS})(?:-fg|-lt)?(?![\\w-])`),
  new RegExp(`\\.list-group-item-(?:${BRANDS})(?![\\w-])`),
  /\.(?:carousel|popover|bs-popover|bs-tooltip|tooltip|accordion|offcanvas)(?![a-z])/,
  /\.(?:form-floating|form-imagecheck|form-colorinput|form-colorcheck|switch-icon|ribbon|card-tabs)/,
  /\.(?:link-underline|link-offset|focus-ring|navbar-vertical|was-validated|toast|ratio|chart-sparkline)/,
  /\.(?:apexcharts|jsvectormap|fc-|ts-|noUi|dropzone|litepicker|star-rating|fslightbox|plyr|hugerte|tox)/,
  /:has\(/, // not known to the oldest browsers that we serve
];
const UNUSED_VARIABLES = new RegExp(`^--tblr-(?:${BRANDS})(?:-rgb|-fg|-lt|-lt-rgb)?$`);

function trimmed(css) {
  const root = postcss.parse(css);
  root.walkRules((rule) => {
    const kept = rule.selectors.filter((one) => !UNUSED_RULES.some((unused) => unused.test(one)));
    if (kept.length === 0) rule.remove();
    else if (kept.length < rule.selectors.length) rule.selectors = kept;
  });
  root.walkDecls(UNUSED_VARIABLES, (declaration) => declaration.remove());
  root.walkAtRules((rule) => {
    if (rule.nodes && rule.nodes.length === 0) rule.remove();
  });
  return root.toString();
}

const trimTabler = {
  name: "trim-tabler",
  setup(within) {
    within.onLoad({ filter: /@tabler[\\/]core[\\/].*\.css$/ }, ({ path }) => ({
      contents: trimmed(readFileSync(path, "utf8")),
      loader: "css",
    }));
  },
};

const bundleOfParts = {
  name: "bundle-of-parts",
  setup(within) {
    within.onResolve({ filter: /^bundle:/ }, ({ path }) => ({ path, namespace: "bundle" }));
    within.onLoad({ filter: /.*/, namespace: "bundle" }, ({ path }) => {
      const name = path.slice("bundle:".length);
      const style = name.endsWith(".css");
      const own = partsOf(name).map((part) => `./${relative(ROOT, part)}`);
      const parts = name === "base.css" ? [...BASE_CSS, ...own] : own;
      const include = style ? "@import" : "export * from";
      return {
        contents: parts.map((part) => `${include} ${JSON.stringify(part)};`).join("\n"),
        loader: style ? "css" : "js",
        resolveDir: ROOT,
      };
    });
  },
};

function partsOf(name) {
  const own = name.endsWith(".css") ? "static/css" : "static/js";
  return [join(ROOT, "static/src", name), join(ROOT, own, name)].filter((path) => existsSync(path));
}

function bundleNames() {
  const found = ["static/src", "static/js", "static/css"].flatMap((folder) =>
    existsSync(join(ROOT, folder)) ? readdirSync(join(ROOT, folder)) : [],
  );
  return [...new Set(["base.css", ...found])].filter((name) => /\.(?:js|css)$/.test(name) && !NOT_BUNDLES.has(name)).sort();
}

function printSizes(outputs) {
  for (const path of Object.keys(outputs).sort()) {
    const bytes = readFileSync(join(ROOT, path));
    const kilobytes = (gzipSync(bytes, { level: 9 }).length / 1000).toFixed(1);
    console.log(`${basename(path).padEnd(28)} ${String(bytes.length).padStart(9)} B ${kilobytes.padStart(8)} KB gzipped`);
  }
}

// Bundle -> the chunks that it imports at once, those of chunks too.
function chunksOf(outputs) {
  const collected = (path, into) => {
    for (const { path: next, kind } of outputs[path].imports) {
      if (kind !== "import-statement" || into.has(next)) continue;
      into.add(next);
      collected(next, into);
    }
    return into;
  };
  const bundles = Object.keys(outputs).filter((path) => path.endsWith(".js") && outputs[path].entryPoint);
  return Object.fromEntries(
    bundles.map((path) => [basename(path), [...collected(path, new Set())].map((chunk) => basename(chunk))]),
  );
}

rmSync(FRESH, { recursive: true, force: true });
const result = await build({
  absWorkingDir: ROOT,
  entryPoints: bundleNames().map((name) => ({
    in: `bundle:${name}`,
    out: name.replace(/\.(?:js|css)$/, ""),
  })),
  outdir: FRESH,
  bundle: true,
  format: "esm",
  splitting: true,
  chunkNames: "chunk-[hash]",
  minify: true,
  legalComments: "none",
  target: TARGET,
  // Safari 14 has an old fault in one corner of it; esbuild would refuse every use.
  supported: { destructuring: true },
  metafile: true,
  logLevel: "warning",
  external: ["/static/*"],
  define: { "process.env.NODE_ENV": '"production"' },
  plugins: [bundleOfParts, trimTabler],
});
if (process.argv.includes("--sizes")) printSizes(result.metafile.outputs);
writeFileSync(join(FRESH, "modules.json"), JSON.stringify(chunksOf(result.metafile.outputs)));

// A running server never sees a half-built folder.
mkdirSync(dirname(DIST), { recursive: true });
rmSync(STALE, { recursive: true, force: true });
if (existsSync(DIST)) renameSync(DIST, STALE);
renameSync(FRESH, DIST);
rmSync(STALE, { recursive: true, force: true });
