// Output files of a job: the adapter first, then checkpoints, log, and the rest.
import { api } from "../core/api.js";
import { copyText, element, icon } from "../core/dom.js";
import { bytes } from "../core/format.js";
import { notice } from "../core/notice.js";
import { text } from "../core/texts.js";

const LOG = /(^|\/)(console\.log|logging\.jsonl|events\.jsonl|args\.json|val_dataset\.jsonl)$/;
const CHECKPOINT = /(^|\/)checkpoint-(\d+)\//;
const ADAPTER = /(^|\/)checkpoint-\d+\/adapter_(model\.safetensors|config\.json)$/;

async function pages(path) {
  const rows = [];
  for (let page = 1; ; page += 1) {
    const answer = await api(`${path}?page_size=200&page=${page}`);
    if (Array.isArray(answer)) return answer;
    rows.push(...answer.results);
    if (!answer.next) return rows;
  }
}

function grouped(rows) {
  const found = { checkpoints: new Map(), logs: [], others: [] };
  for (const row of rows) {
    const checkpoint = CHECKPOINT.exec(row.path);
    if (checkpoint) {
      const step = Number(checkpoint[2]);
      if (!found.checkpoints.has(step)) found.checkpoints.set(step, []);
      found.checkpoints.get(step).push(row);
    } else if (LOG.test(row.path)) found.logs.push(row);
    else found.others.push(row);
  }
  return found;
}

class FileList {
  constructor(root) {
    this.root = root;
    this.t = root.dataset;
    this.base = `/api/v1/jobs/${root.dataset.job}/artifacts/`;
    this.may = root.dataset.mayDownload === "1";
  }

  address(row) {
    return this.base + row.path.split("/").map(encodeURIComponent).join("/");
  }

  link(label, href, look = "btn-quiet") {
    return this.may ? element("a", { class: `btn btn-sm ${look}`, href, download: true }, icon("download"), label) : null;
  }

  zip(folder, label = this.t.textZip, look = "btn-quiet") {
    return this.link(label, `${this.base}?format=zip&prefix=${encodeURIComponent(folder)}`, look);
  }

  row(row, cut = "") {
    const name = row.path.slice(cut.length);
    const copy = async () => {
      await copyText(row.sha256);
      notice(text("copied"));
    };
    return element(
      "div",
      { class: "lf-item lf-file" },
      icon("file"),
      element("span", { class: "lf-item-body lf-cut lf-mono", title: row.path }, name),
      element("span", { class: "lf-small lf-muted lf-number" }, bytes(row.size_bytes)),
      row.sha256 ? element("button", { class: "btn btn-quiet btn-sm lf-mono", type: "button", title: `${this.t.textSha}: ${row.sha256}`, onclick: copy }, icon("copy"), row.sha256.slice(0, 8)) : null,
      this.link(this.t.textDownload, this.address(row)),
    );
  }

  card(title, ...children) {
    return element("section", { class: "card" }, element("div", { class: "card-header" }, element("h2", { class: "card-title" }, title)), ...children);
  }

  adapter(checkpoints) {
    const step = Math.max(...checkpoints.keys());
    const rows = (checkpoints.get(step) || []).filter((row) => ADAPTER.test(row.path));
    const weights = rows.find((row) => row.path.endsWith(".safetensors"));
    if (!weights) return null;
    const folder = weights.path.replace(/[^/]+$/, "");
    const head = element(
      "div",
      { class: "lf-item" },
      icon("download"),
      element("div", { class: "lf-item-body" }, element("strong", {}, this.t.textAdapter), element("div", { class: "lf-small lf-muted" }, `checkpoint-${step} · ${bytes(weights.size_bytes)} · ${this.t.textAdapterHint}`)),
      this.link(this.t.textDownloadAdapter, this.address(weights), "btn-primary"),
      this.zip(folder),
    );
    return element("section", { class: "card" }, head, ...rows.map((row) => this.row(row, folder)));
  }

  checkpoint(step, rows, isLatest) {
    const folder = rows[0].path.replace(/(checkpoint-\d+\/).*$/, "$1");
    const total = rows.reduce((sum, row) => sum + row.size_bytes, 0);
    const summary = element(
      "summary",
      { class: "lf-item" },
      icon("folder"),
      element("span", { class: "lf-item-body" }, element("strong", {}, `checkpoint-${step} `), isLatest ? element("span", { class: "lf-badge is-accent" }, this.t.textLatest) : null),
      element("span", { class: "lf-small lf-muted lf-number" }, bytes(total)),
      this.zip(folder),
    );
    return element("details", { class: "lf-details" }, summary, ...rows.map((row) => this.row(row, folder)));
  }

  empty() {
    return element("section", { class: "card" }, element("div", { class: "lf-empty" }, icon("folder"), element("strong", {}, this.t.textEmpty), element("p", {}, this.t.textEmptyHint)));
  }

  show(rows) {
    const found = grouped(rows);
    const steps = [...found.checkpoints.keys()].sort((a, b) => b - a);
    const parts = [
      rows.length ? null : this.empty(),
      this.may ? null : element("p", { class: "lf-muted" }, this.t.textNoRight),
      steps.length ? this.adapter(found.checkpoints) : null,
      steps.length ? this.card(this.t.textCheckpoints, ...steps.map((step, index) => this.checkpoint(step, found.checkpoints.get(step), index === 0))) : null,
      found.logs.length ? this.card(this.t.textLogs, ...found.logs.map((row) => this.row(row))) : null,
      found.others.length ? this.card(this.t.textOthers, ...found.others.map((row) => this.row(row))) : null,
    ];
    this.root.className = "lf-stack";
    this.root.replaceChildren(...parts.filter(Boolean));
  }
}

export async function filesShow(panel) {
  const root = panel.querySelector("[data-files]");
  if (!root) return;
  try {
    new FileList(root).show(await pages(`jobs/${root.dataset.job}/artifacts/`));
  } catch (error) {
    root.replaceChildren(element("div", { class: "alert alert-danger", role: "alert" }, icon("alert"), error.message));
  }
}

/** The step of the newest checkpoint that is listed, 0 when there is none. */
export async function lastCheckpoint(id) {
  const rows = await pages(`jobs/${id}/artifacts/`);
  return Math.max(0, ...rows.map((row) => Number((CHECKPOINT.exec(row.path) || [0, 0, 0])[2])));
}
