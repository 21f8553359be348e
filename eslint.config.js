// Two questions: is our own JavaScript sound, and does the built one use anything that the oldest
// browsers we serve (package.json, browserslist) do not know? `make check` asks both.
import js from "@eslint/js";
import compat from "eslint-plugin-compat";
import es from "eslint-plugin-es-x";
import globals from "globals";

// Judged by name alone these accuse Array's own map and filter, and any object's union() or resize().
const AMBIGUOUS = /^es-x\/no-(?:iterator-prototype-|set-prototype-|resizable-)/;
const UNJUDGED = Object.fromEntries(
  Object.keys(es.configs["flat/restrict-to-es2021"].rules)
    .filter((name) => AMBIGUOUS.test(name))
    .map((name) => [name, "off"]),
);

const OLDEST_BROWSERS = [
  compat.configs["flat/recommended"],
  es.configs["flat/restrict-to-es2021"],
  { rules: UNJUDGED },
  { languageOptions: { ecmaVersion: 2021, sourceType: "module", globals: globals.browser } },
];

export default [
  { ignores: ["node_modules/", ".venv*/", "var/", "staticfiles/", "tests/"] },
  {
    files: ["static/js/**/*.js", "static/src/**/*.js"],
    ...js.configs.recommended,
    languageOptions: { ecmaVersion: 2022, sourceType: "module", globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      ...js.configs.recommended.rules,
      eqeqeq: "error",
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "no-var": "error",
      "prefer-const": "error",
      complexity: ["error", 12],
      "max-lines": ["error", 400],
      "max-lines-per-function": ["error", { max: 60, skipBlankLines: true, skipComments: true }],
    },
  },
  ...OLDEST_BROWSERS.map((config) => ({
    ...config,
    files: ["static/dist/**/*.js"],
    linterOptions: { noInlineConfig: true },
    // methods are judged by their name alone: an unknown object's .at() counts as Array's
    settings: {
      "es-x": { aggressive: true },
      // asked for before it is used (by Popper, to know a Safari)
      polyfills: ["navigator.userAgentData"],
    },
  })),
  {
    files: ["*.config.js", "tools/**/*.mjs"],
    ...js.configs.recommended,
    languageOptions: { ecmaVersion: 2022, sourceType: "module", globals: globals.node },
  },
];
