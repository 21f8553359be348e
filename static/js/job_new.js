// The form of a new job. One draft object stands behind it: it is what the API takes, what the preview
// asks about, and what the server keeps until the job is made.
import "./base.js";

import { api } from "./core/api.js";
import { debounce } from "./core/dom.js";
import { integer } from "./core/format.js";
import { notice } from "./core/notice.js";
import { pageData, text } from "./core/texts.js";
import { AllArguments } from "./form/arguments.js";
import { ComputeField } from "./form/compute.js";
import { DatasetField } from "./form/datasets.js";
import { Findings } from "./form/findings.js";
import { Keeper } from "./form/keeper.js";
import { Marks } from "./form/marks.js";
import { ModelField } from "./form/model.js";
import { pastAsk } from "./form/past.js";
import { TroubleField } from "./form/trouble.js";
import { valueRead, valueShow } from "./form/values.js";
import { WeightsField } from "./form/weights.js";
import { recipeOfForm } from "./recipe/save.js";

const PREVIEW_WAIT_MS = 400;
// SWIFT's own rule when no accumulation is given (swift/trainers/arguments.py): about 16 rows a step.
const SWIFT_BATCH = 16;
const LORA_ONLY = ["lora_rank", "lora_alpha", "target_modules"];
const LEARNING_RATES = { lora: "1e-4", qlora: "1e-4", full: "1e-5" };

const form = document.getElementById("job-form");
const data = pageData("form-data");
const find = (selector) => form.querySelector(selector);
const checked = (name) => form.querySelector(`input[name="${name}"]:checked`).value;
let sent = false;
let tried = false;
let asked = 0;
let idempotency = "";
let judged = null; // the draft that the server judged last, and what it said
let parent = null; // the job that the draft was made from
let recipe = (data.source && data.source.recipe) || null; // that the form was filled from, if one may change it

const all = new AllArguments(form, data.own_arguments, changed);
const datasets = new DatasetField(form, data.datasets, changed);
const compute = new ComputeField(form, data.nodes, changed, () => summaryShow(draftRead()));
const trouble = new TroubleField(form);
const weights = new WeightsField(form, changed);
const model = new ModelField(form, changed, judgedShow, (revision) => all.set({ ...all.values, model_revision: revision }));
const findings = new Findings(form, (name) => all.reveal(name));
const fields = [...form.querySelectorAll("[data-argument]")];
const keeper = new Keeper(data.unsent, draftRead);
const marks = new Marks(form, fields, () => changed());

function methodArguments(method) {
  if (method === "full") return { tuner_type: "full" };
  return method === "qlora" ? { quant_method: "bnb", quant_bits: 4 } : {};
}

function ownArguments() {
  const found = {};
  const method = checked("method");
  for (const field of fields) {
    const value = valueRead(field.value, field.dataset.kind);
    if (value === undefined || (method === "full" && LORA_ONLY.includes(field.dataset.argument))) continue;
    found[field.dataset.argument] = value;
  }
  return { ...found, ...methodArguments(method) };
}

function draftRead() {
  return {
    name: find("#name").value.trim(),
    command: checked("command"),
    model: find("#model").value.trim(),
    model_hub: model.hub,
    model_type: find("#model_type").value.trim(),
    template: find("#template").value.trim(),
    arguments: { ...all.values, ...ownArguments() },
    datasets: datasets.chosen,
    ...compute.value(),
    ...trouble.value(),
    ...weights.value(),
    parent,
  };
}

function methodOf(given) {
  if (given.tuner_type === "full") return "full";
  return given.quant_method || given.quant_bits ? "qlora" : "lora";
}

function draftShow(draft) {
  const given = { ...draft.arguments };
  for (const name of ["name", "model", "model_type", "template"]) find(`#${name}`).value = draft[name] || "";
  find(`input[name="command"][value="${draft.command || "sft"}"]`).checked = true;
  const method = find(`input[name="method"][value="${methodOf(given)}"]`);
  if (method) method.checked = true;
  for (const name of ["tuner_type", "quant_method", "quant_bits"]) {
    if (["lora", "full", "bnb", 4].includes(given[name])) delete given[name];
  }
  for (const field of fields) {
    field.value = valueShow(given[field.dataset.argument]);
    delete given[field.dataset.argument];
  }
  all.set(given);
  model.hub = draft.model_hub || "";
  datasets.set(draft.datasets || []);
  compute.set(draft);
  trouble.set(draft);
  weights.set(draft.weights_from);
  parent = draft.parent || null;
}

function effective(given) {
  const batch = Number(given.per_device_train_batch_size) || 1;
  const processes = compute.processCount;
  const chosen = Number(given.gradient_accumulation_steps);
  const steps = chosen || Math.max(1, Math.ceil(SWIFT_BATCH / batch / processes));
  return { total: batch * processes * steps, how: text(chosen ? "effective" : "effective_auto", { batch, processes, steps }) };
}

function summaryShow(draft) {
  const method = checked("method");
  const batch = effective(draft.arguments);
  const put = (name, shown) => {
    const part = find(`[data-sum="${name}"]`);
    part.textContent = shown || "–";
    part.title = shown;
  };
  find("[data-lora]").hidden = method === "full";
  find("#a-learning_rate").placeholder = LEARNING_RATES[method];
  find("#a-gradient_accumulation_steps").placeholder = String(Math.max(1, Math.ceil(SWIFT_BATCH / (Number(draft.arguments.per_device_train_batch_size) || 1) / compute.processCount)));
  find("[data-effective]").textContent = integer(batch.total);
  find("[data-effective-how]").textContent = batch.how;
  put("model", draft.model);
  put("datasets", datasets.names().join(", "));
  put("method", form.querySelector('input[name="method"]:checked').parentElement.textContent.trim());
  put("effective", integer(batch.total));
  put("compute", compute.summary());
  put("changed", String(marks.show() + Object.keys(all.values).length + (method === "lora" ? 0 : 1)));
}

function costShow(estimate) {
  for (const part of form.querySelectorAll("[data-cost]")) part.hidden = !estimate;
  if (estimate) find('[data-sum="cost"]').textContent = estimate.text;
}

function worthSaying(problem, draft) {
  if (problem.field === "model" && model.typing) return false; // half a name is no mistake yet
  if (tried) return true;
  return !(problem.field === "model" && !draft.model) && !(problem.field === "datasets" && !draft.datasets.length);
}

function judgedShow() {
  if (!judged) return;
  const { draft, answer } = judged;
  findings.show(answer.problems.filter((one) => worthSaying(one, draft)), answer.warnings, !answer.problems.length);
}

const preview = debounce(async (draft) => {
  asked += 1;
  const mine = asked;
  const code = document.getElementById("preview");
  try {
    const answer = await api("swift/preview/", { method: "POST", body: draft });
    if (mine !== asked) return;
    code.textContent = draft.model ? answer.command_line : text("preview_wait");
    costShow(answer.estimate);
    model.followed({ modelType: answer.model_type, template: answer.template });
    judged = { draft, answer };
    judgedShow();
  } catch (error) {
    if (mine !== asked) return;
    judged = null;
    code.textContent = text("preview_failed", { reason: error.message });
    findings.show(fieldProblems(error), [], false);
  }
}, PREVIEW_WAIT_MS);

function fieldProblems(error) {
  return Object.entries(error.fields).flatMap(([field, texts]) => texts.map((said) => ({ field, text: said })));
}

function changed() {
  const draft = draftRead();
  all.commandSet(draft.command);
  summaryShow(draft);
  keeper.soon();
  judged = null;
  preview(draft);
  compute.placeSoon();
  dirty = true;
  idempotency = "";
}

async function submit(start) {
  tried = true;
  const buttons = form.querySelectorAll("[data-start]");
  buttons.forEach((button) => button.setAttribute("aria-busy", "true"));
  // The same key for the same draft: a second click, or a retry after a lost answer, makes no second job.
  idempotency = idempotency || `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  try {
    const job = await api("jobs/", { method: "POST", body: { ...draftRead(), start }, headers: { "Idempotency-Key": `${idempotency}-${start}` } });
    sent = true;
    await keeper.end();
    window.location.href = `${form.dataset.jobs}${job.id}/`;
  } catch (error) {
    const problems = fieldProblems(error);
    findings.show(problems, [], false);
    if (problems.length) findings.go(problems[0].field);
    else notice(error.message, "error");
    buttons.forEach((button) => button.removeAttribute("aria-busy"));
  }
}

let dirty = false;
let startWanted = true;

function begin() {
  const kept = keeper.restored();
  const wanted = kept || data.source;
  if (wanted) draftShow(wanted);
  if (kept) keeper.tell();
  const draft = draftRead();
  all.commandSet(draft.command);
  summaryShow(draft);
  if (draft.model || draft.datasets.length) preview(draft);
  dirty = false;
}

form.addEventListener("input", (event) => {
  if (!event.target.closest("#all-arguments, [data-upload], #remote-id, #dataset-search")) changed();
});
form.addEventListener("click", (event) => {
  const button = event.target.closest("[data-start]");
  if (button) startWanted = button.dataset.start === "1";
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("input") && !event.ctrlKey) event.preventDefault();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(true);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit(startWanted);
});
const past = document.querySelector("[data-past]");
past.addEventListener("click", () => pastAsk(past));
document.querySelector("[data-recipe-save]").addEventListener("click", async () => {
  const made = await recipeOfForm(draftRead(), recipe);
  if (made && recipe && made.id === recipe.id) recipe = { ...recipe, version: made.version };
});
window.addEventListener("beforeunload", (event) => {
  // The draft itself is kept; only an upload on its way would be lost without a word.
  if (dirty && !sent && form.querySelector(".lf-upload-item progress:not([hidden])")) event.preventDefault();
});

window.addEventListener("load", () => compute.recommend());

begin();
