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
import { EnvironmentField } from "./form/environment.js";
import { fileSave, importAsk, leftOutShow } from "./form/exchange.js";
import { Findings } from "./form/findings.js";
import { forecastShow } from "./form/forecast.js";
import { Keeper } from "./form/keeper.js";
import { Marks } from "./form/marks.js";
import { ModelField } from "./form/model.js";
import { ModuleField } from "./form/modules.js";
import { pastAsk } from "./form/past.js";
import { SourceField } from "./form/source.js";
import { TroubleField } from "./form/trouble.js";
import { valueRead, valueShow } from "./form/values.js";
import { effective as effectiveOf } from "./form/visibility.js";
import { WeightsField } from "./form/weights.js";
import { recipeOfForm } from "./recipe/save.js";

const PREVIEW_WAIT_MS = 400;
// SWIFT's own rule when no accumulation is given (swift/trainers/arguments.py): about 16 rows a step.
const SWIFT_BATCH = 16;
const CONTROLLED = ["tuner_type", "system", "model_type", "template", "model", "dataset", "val_dataset", "ref_model", "teacher_model", "reward_model"];
const LEARNING_RATES = { full: "1e-5" };
const LEARNING_RATE = "1e-4";

const form = document.getElementById("job-form");
const data = pageData("form-data");
const find = (selector) => form.querySelector(selector);
const checked = (name) => form.querySelector(`input[name="${name}"]:checked`).value;
let sent = false;
let tried = false;
let asked = 0;
let idempotency = "";
let exported = null; // the newest preview, to be saved as a file
let judged = null; // the draft that the server judged last, and what it said
let parent = null; // the job that the draft was made from
let recipe = (data.source && data.source.recipe) || null; // that the form was filled from, if one may change it

const modules = new ModuleField(form, data.modules, data.deciding, changed);
const all = new AllArguments(form, changed);
all.onLoad = () => summaryShow(draftRead());
const environment = new EnvironmentField(form, changed);
const datasets = new DatasetField(form, data.datasets, changed);
const compute = new ComputeField(form, data.nodes, changed, () => summaryShow(draftRead()));
const trouble = new TroubleField(form);
const weights = new WeightsField(form, changed);
const model = new ModelField(form, changed, judgedShow, (revision) => all.set({ ...all.values, model_revision: revision }));
const findings = new Findings(form, (name) => all.reveal(name));
const keeper = new Keeper(data.unsent, draftRead);
const tunerOther = find("#tuner-other");
// Those of the chosen module; what is only for other modules is not among them.
const fields = () => [...form.querySelectorAll("[data-argument]")].filter((field) => !field.closest("[data-for][hidden]"));
const marks = new Marks(form, fields, () => changed());
const source = new SourceField(form, (job, from) => {
  if (job && job.model) find("#model").value = job.model;
  weights.set(from);
  changed();
});

function methodArguments(method) {
  if (!modules.current.train) return {};
  if (method === "other") return { tuner_type: tunerOther.value };
  if (method === "full") return { tuner_type: "full" };
  return method === "qlora" ? { quant_method: "bnb", quant_bits: 4 } : {};
}

function ownArguments() {
  const found = {};
  for (const field of fields()) {
    const value = valueRead(field.value, field.dataset.kind);
    if (value !== undefined) found[field.dataset.argument] = value;
  }
  return found;
}

/** Which arguments have an effect, and which fields are to be seen. */
function effectRead() {
  const conditions = new Map(all.conditions);
  for (const field of fields()) {
    const box = field.closest("[data-when]");
    if (box) conditions.set(field.dataset.argument, JSON.parse(box.dataset.when));
  }
  const given = { ...methodArguments(checked("method")), ...all.values, ...ownArguments(), ...modules.current.fixed };
  return effectiveOf(given, conditions, { ...all.defaults, ...modules.defaults });
}

function draftRead() {
  const effect = effectRead();
  return {
    name: find("#name").value.trim(),
    command: modules.current.command,
    model: find("#model").value.trim(),
    model_hub: model.hub,
    model_type: find("#model_type").value.trim(),
    template: find("#template").value.trim(),
    arguments: effect.kept,
    datasets: modules.current.rows ? datasets.chosen : [],
    validation_datasets: modules.current.train ? datasets.validation : [],
    ...compute.value(),
    ...trouble.value(),
    ...weights.value(),
    ...environment.value(),
    ...modules.value(effect.shown),
    parent,
  };
}

function methodOf(given) {
  if (given.tuner_type && given.tuner_type !== "lora") return given.tuner_type === "full" ? "full" : "other";
  return given.quant_method === "bnb" && given.quant_bits === 4 ? "qlora" : "lora";
}

/** Sets the method; takes out of the arguments what it stands for. */
function methodShow(given) {
  const name = methodOf(given);
  const button = find(`input[name="method"][value="${name}"]`);
  if (button) button.checked = true;
  if (name === "other") tunerOther.value = given.tuner_type;
  for (const one of name === "qlora" && button ? ["quant_method", "quant_bits"] : []) delete given[one];
  delete given.tuner_type;
}

async function draftShow(draft) {
  const given = { ...draft.arguments };
  const module = modules.of(draft);
  if (module !== modules.current || !module.whole) await modules.show(module.id);
  for (const name of ["name", "model", "model_type", "template"]) find(`#${name}`).value = draft[name] || "";
  methodShow(given);
  for (const name of Object.keys(module.fixed)) delete given[name];
  for (const field of fields()) {
    field.value = valueShow(given[field.dataset.argument]);
    delete given[field.dataset.argument];
  }
  all.set(given);
  partsShow(draft);
  parent = draft.parent || null;
}

function partsShow(draft) {
  model.hub = draft.model_hub || "";
  datasets.set(draft.datasets || []);
  datasets.validationSet(draft.validation_datasets || []);
  environment.set(draft.environment || {});
  modules.set(draft);
  compute.set(draft);
  trouble.set(draft);
  weights.set(draft.weights_from);
  source.clear();
}

/** What SWIFT takes where nothing is given; GRPO learns from each batch of answers at once. */
function accumulationOf(batch, processes) {
  return modules.current.fixed.rlhf_type === "grpo" ? 1 : Math.max(1, Math.ceil(SWIFT_BATCH / batch / processes));
}

function effective(given) {
  const batch = Number(given.per_device_train_batch_size) || 1;
  const processes = compute.processCount;
  const chosen = Number(given.gradient_accumulation_steps);
  const steps = chosen || accumulationOf(batch, processes);
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
  tunerOther.hidden = method !== "other";
  effectShow();
  find("#a-learning_rate").placeholder = LEARNING_RATES[method] || LEARNING_RATE;
  find("#a-gradient_accumulation_steps").placeholder = String(accumulationOf(Number(draft.arguments.per_device_train_batch_size) || 1, compute.processCount));
  find("[data-effective]").textContent = integer(batch.total);
  find("[data-effective-how]").textContent = batch.how;
  put("model", draft.model);
  put("datasets", datasets.names().join(", "));
  put("method", methodShown(method));
  put("effective", integer(batch.total));
  put("compute", compute.summary());
  const count = marks.show() + Object.keys(all.values).length + (modules.current.train && method !== "lora" ? 1 : 0);
  put("changed", String(count));
  find("[data-reset-all]").hidden = !count;
}

function methodShown(method) {
  const title = document.querySelector('input[name="module"]:checked').parentElement.textContent.trim();
  if (!modules.current.train) return title;
  return `${title} · ${method === "other" ? tunerOther.value : find('input[name="method"]:checked').parentElement.textContent.trim()}`;
}

/** Fields without effect are hidden; what was typed into them stays, is not sent, and is named. */
function effectShow() {
  const { off, shown } = effectRead();
  for (const box of form.querySelectorAll("[data-when]")) box.hidden = !shown(JSON.parse(box.dataset.when));
  all.effectShow(shown);
  for (const part of form.querySelectorAll("[data-unsent]")) part.hidden = !off.length;
  find('[data-sum="unsent"]').textContent = off.map((name) => `--${name}`).join(" ");
  const may = data.startable.includes(modules.current.command);
  find("[data-start-text]").textContent = text(modules.current.train ? "start_training" : "start_job");
  for (const button of form.querySelectorAll("[data-start]")) button.disabled = !may;
  find("[data-not-started]").hidden = may;
}

function costShow(estimate) {
  for (const part of form.querySelectorAll("[data-cost]")) part.hidden = !estimate;
  if (estimate) find('[data-sum="cost"]').textContent = estimate.text;
}

function worthSaying(problem, draft) {
  if (problem.field === "model" && model.typing) return false; // half a name is no mistake yet
  if (tried) return true;
  const name = problem.field.startsWith("arguments.") ? problem.field.slice("arguments.".length) : "";
  if (name && !draft.model && !(name in draft.arguments)) return false; // nobody has come to it yet
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
    exported = answer;
    for (const button of form.querySelectorAll("[data-export]")) button.disabled = !answer.config_yaml;
    costShow(answer.estimate);
    forecastShow(form, draft, answer.forecast);
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

function commandShow() {
  const { id, command } = modules.current;
  all.commandSet(command, id, [...CONTROLLED, ...fields().map((field) => field.dataset.argument)]);
}

function changed() {
  commandShow();
  const draft = draftRead();
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

async function begin() {
  const kept = keeper.restored();
  const wanted = kept || data.source;
  if (wanted) await draftShow(wanted);
  if (kept) keeper.tell();
  commandShow();
  const draft = draftRead();
  summaryShow(draft);
  if (draft.model || draft.datasets.length) preview(draft);
  dirty = false;
}

form.addEventListener("input", (event) => {
  if (!event.target.closest("#all-arguments, #environment, [data-field=command], [data-field=source_job], [data-upload], #remote-id, #dataset-search")) changed();
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

/** What was read of a pasted text becomes the form; name, devices and options stay as they are. */
async function imported(found) {
  const now = draftRead();
  const gpus = found.gpus ? { gpus: found.gpus, node: "", gpu_uuids: [], processes: found.processes || 1 } : {};
  const kept = { model: found.model || now.model, model_hub: found.model ? "" : now.model_hub, datasets: found.datasets.length || found.remote_datasets.length ? found.datasets : now.datasets };
  await draftShow({ ...now, ...found, ...gpus, ...kept, weights_from: "" });
  for (const id of found.remote_datasets) await datasets.remote(id);
  leftOutShow(form, found);
  changed();
}

document.querySelector("[data-import]").addEventListener("click", () => importAsk(modules.current.command, imported));
find("[data-reset-all]").addEventListener("click", () => {
  marks.reset();
  all.set({});
  find('input[name="method"][value="lora"]').checked = true;
  changed();
});
for (const button of form.querySelectorAll("[data-export]")) {
  button.addEventListener("click", () => {
    const isYaml = button.dataset.export === "yaml";
    fileSave(`${modules.current.id}.${button.dataset.export}`, isYaml ? exported.config_yaml : exported.config_json, isYaml ? "application/yaml" : "application/json");
  });
}
window.addEventListener("load", () => compute.recommend());

begin();
