// Builds static/dist, what the pages load. One rule: the bundle NAME is static/src/NAME (third-party
// code), then static/js/NAME or static/css/NAME (ours), whichever of the two exist.
//
//   static/dist/base.js    static/js/base.js, what every page needs
//   static/dist/base.css   Tabler (trimmed), the tokens, then static/css/base.css
//   static/dist/htmx.js    htmx, for pages with hx-* attributes
//   static/dist/chart.js   ECharts: a module asks for it by import("./chart.js")
//   static/dist/upload.js  tus
//   static/dist/FEATURE.js one for each static/js/FEATURE.js
//
// Everything is an ES module, <script type="module">, and whole in itself: a page asks for one script, which has
// static/js/base.js in it, and for htmx.js where it needs that; what one script shares with that of another page is
// small, and less than the time that a further request takes. File names carry no hash: the manifest storage adds it.
//
//   node tools/build_frontend.mjs [--sizes]
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";
import postcss from "postcss";
import { PurgeCSS } from "purgecss";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const DIST = join(ROOT, "static/dist");
const FRESH = join(ROOT, "static/.dist-new");
const STALE = join(ROOT, "static/.dist-old");
const TARGET = ["chrome90", "edge90", "firefox88", "safari14"];
// base.css begins with these; no file of static/ imports them, since the manifest storage reads every
// style sheet there and could not resolve the name of a package.
const BASE_CSS = ["@tabler/core/dist/css/tabler.css", "./static/src/tokens.css"];
const NOT_BUNDLES = new Set(["tokens.css"]);

// What names a class, an element or an attribute of a page: the templates, the code that builds parts of pages, and
// the third-party code that puts classes on them. Every word in these files counts as a name, so a rule goes
// only when no file has its words; a class must therefore stand somewhere in full, not be put together.
const NAMED_IN = [
  ...["templates/**/*.html", "static/js/**/*.js", "static/src/*.js", "loraforge/**/*.py"],
  "node_modules/bootstrap/js/dist/{dropdown,modal,base-component}.js",
  "node_modules/bootstrap/js/dist/{util,dom}/*.js",
];
// What Bootstrap puts together from parts.
const PUT_TOGETHER = "data-bs-popper";
const UNKNOWN_TO_OLDEST = /:has\(/;

// Tabler's rules that some page of ours can use.
async function trimmed(tabler) {
  const css = readdirSync(join(ROOT, "static/css")).map((name) => `static/css/${name}`);
  const own = [...BASE_CSS.slice(1), ...css].map((path) => readFileSync(join(ROOT, path), "utf8"));
  const [purged] = await new PurgeCSS().purge({
    content: [...NAMED_IN.map((pattern) => join(ROOT, pattern)), { raw: PUT_TOGETHER, extension: "js" }],
    css: [{ raw: tabler }],
    keyframes: true,
  });
  const root = postcss.parse(purged.css);
  root.walkRules((rule) => {
    const kept = rule.selectors.filter((one) => !UNKNOWN_TO_OLDEST.test(one));
    if (kept.length === 0) rule.remove();
    else if (kept.length < rule.selectors.length) rule.selectors = kept;
  });
  variablesTrim(root, own.join("\n"));
  root.walkAtRules((rule) => {
    if (rule.nodes && rule.nodes.length === 0) rule.remove();
  });
  return root.toString();
}

// Removes Tabler's variables that neither the rules left over nor our own style sheets read; again, since some read others.
function variablesTrim(root, own) {
  for (let removed = 1; removed; ) {
    removed = 0;
    const read = new Set(`${root} ${own}`.match(/(?<=var\(\s*)--[\w-]+/g));
    root.walkDecls(/^--tblr-/, (declaration) => {
      if (read.has(declaration.prop)) return;
      declaration.remove();
      removed += 1;
    });
  }
  root.walkRules((rule) => rule.nodes.length === 0 && rule.remove());
}

const trimTabler = {
  name: "trim-tabler",
  setup(within) {
    within.onLoad({ filter: /@tabler[\\/]core[\\/].*\.css$/ }, async ({ path }) => ({
      contents: await trimmed(readFileSync(path, "utf8")),
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

// A running server never sees a half-built folder.
mkdirSync(dirname(DIST), { recursive: true });
rmSync(STALE, { recursive: true, force: true });
if (existsSync(DIST)) renameSync(DIST, STALE);
renameSync(FRESH, DIST);
rmSync(STALE, { recursive: true, force: true });
