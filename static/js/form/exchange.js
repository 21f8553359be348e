// Settings out of the form as a file, and into it from a file or a pasted command.
import { api } from "../core/api.js";
import { dialog } from "../core/dialog.js";
import { element } from "../core/dom.js";
import { text } from "../core/texts.js";

const FILE_MAX_BYTES = 200000;
const KEPT_MS = 10000; // a browser may begin to save a moment later

/** Hands a text to the browser as a file. */
export function fileSave(name, content, type) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  window.setTimeout(() => URL.revokeObjectURL(address), KEPT_MS);
}

function picker(area) {
  const input = element("input", { class: "form-control", type: "file", accept: ".yaml,.yml,.json,.sh,.txt", "aria-label": text("import_file") });
  input.addEventListener("change", async () => {
    const [file] = input.files;
    if (file && file.size <= FILE_MAX_BYTES) area.value = await file.text();
    else if (file) area.value = "";
    area.setCustomValidity(file && file.size > FILE_MAX_BYTES ? text("import_large") : "");
    area.reportValidity();
  });
  return input;
}

/** Asks for a text and lets the server read it; take: (what it says) fills the form. */
export function importAsk(command, take) {
  const area = element("textarea", { class: "form-control lf-mono", id: "import-text", rows: "10", spellcheck: "false", placeholder: "swift sft --model Qwen/Qwen2.5-7B-Instruct --dataset …" });
  const extra = element("div", { class: "lf-stack" }, element("label", { class: "form-label", for: "import-text" }, text("import_text")), area, picker(area));
  return dialog({
    title: text("import_title"),
    body: text("import_body"),
    ok: text("import_ok"),
    extra,
    wide: true,
    work: async () => take(await api("swift/parse/", { method: "POST", body: { text: area.value, command } })),
  });
}

/** What was left out, and why, above the form until it is closed. */
export function leftOutShow(form, found) {
  form.querySelector("[data-left-out]")?.remove();
  const said = [...found.problems, ...found.warnings];
  if (!said.length) return;
  const close = element("button", { class: "btn btn-quiet btn-sm", type: "button", onclick: () => box.remove() }, text("close"));
  const box = element(
    "div",
    { class: "alert alert-warning", role: "status", "data-left-out": true },
    element("div", { class: "lf-stack-sm" }, element("strong", {}, text("import_left_out", { count: said.length })), element("ul", { class: "lf-problems" }, ...said.map((one) => element("li", {}, one.text))), element("div", {}, close)),
  );
  form.querySelector(".lf-stack").prepend(box);
}
