// Output files of a job: the adapter first, then checkpoints, log, and the rest.
import { api } from "../core/api.js";
import { copyText, element, icon } from "../core/dom.js";
import { bytes } from "../core/format.js";
import { notice } from "../core/notice.js";
import { text } from "../core/texts.js";

const isAdapter = (row) => row.role === "adapter";

async function pages(path) {
  const rows = [];
  for (let page = 1; ; page += 1) {
    const answer = await api(`${path}?page_size=200&page=${page}`);
    if (Array.isArray(answer)) return answer;
    rows.push(...answer.results);
    if (!answer.next) return rows;
  }
}

// Checkpoints by attempt and folder, newest first; then the logs; then all others.
function grouped(rows) {
  const found = { checkpoints: new Map(), logs: [], others: [] };
  for (const row of rows) {
    if (row.checkpoint) {
      const key = `${row.attempt}:${row.checkpoint.path}`;
      if (!found.checkpoints.has(key)) found.checkpoints.set(key, { ...row.checkpoint, attempt: row.attempt, rows: [] });
      found.checkpoints.get(key).rows.push(row);
    } else if (row.role === "log" || row.role === "metrics") found.logs.push(row);
    else found.others.push(row);
  }
  found.checkpoints = [...found.checkpoints.values()].sort((a, b) => b.attempt - a.attempt || b.step - a.step);
  return found;
}

class FileList {
  constructor(root) {
    this.root = root;
    this.t = root.dataset;
    this.base = `/api/v1/jobs/${root.dataset.job}/artifacts`;
    this.may = root.dataset.mayDownload === "1";
  }

  address(row) {
    return `${this.base}/${row.path.split("/").map(encodeURIComponent).join("/")}?attempt=${row.attempt}`;
  }

  link(label, href, look = "btn-quiet") {
    return this.may ? element("a", { class: `btn btn-sm ${look}`, href, download: true }, icon("download"), label) : null;
  }

  zipAddress(checkpoint) {
    const folder = encodeURIComponent(`${checkpoint.path.replace(/\/$/, "")}/`);
    return `${this.base}.zip?attempt=${checkpoint.attempt}&prefix=${folder}`;
  }

  zip(checkpoint) {
    return this.link(this.t.textZip, this.zipAddress(checkpoint));
  }

  trainOn(checkpoint) {
    if (!this.t.trainOn) return null;
    const href = `${this.t.trainOn}${checkpoint.attempt}:${checkpoint.step}`;
    return element("a", { class: "btn btn-sm btn-quiet", href }, icon("play"), this.t.textTrainOn);
  }

  row(row, cut = "") {
    const name = row.path.startsWith(cut) ? row.path.slice(cut.length) : row.path;
    const copy = async () => {
      await copyText(row.sha256);
      notice(text("copied"));
    };
    return element(
      "div",
      { class: "lf-item lf-file" },
      icon("file"),
      element("span", { class: "lf-item-body lf-cut lf-mono", title: row.path }, name),
      row.is_kept ? element("span", { class: "lf-badge", title: this.t.textKeptHint }, this.t.textKept) : null,
      element("span", { class: "lf-small lf-muted lf-number" }, bytes(row.size_bytes)),
      row.sha256 ? element("button", { class: "btn btn-quiet btn-sm lf-mono", type: "button", title: `${this.t.textSha}: ${row.sha256}`, onclick: copy }, icon("copy"), row.sha256.slice(0, 8)) : null,
      this.link(this.t.textDownload, this.address(row)),
    );
  }

  card(title, ...children) {
    return element("section", { class: "card" }, element("div", { class: "card-header" }, element("h2", { class: "card-title" }, title)), ...children);
  }

  adapter(checkpoint) {
    const rows = checkpoint.rows.filter(isAdapter);
    const weights = rows.find((row) => row.path.endsWith(".safetensors") || row.path.endsWith(".bin"));
    if (!weights) return null;
    const hint = `checkpoint-${checkpoint.step} · ${bytes(weights.size_bytes)} · ${this.t.textAdapterHint}`;
    const head = element(
      "div",
      { class: "lf-item" },
      icon("download"),
      element("div", { class: "lf-item-body" }, element("strong", {}, this.t.textAdapter), element("div", { class: "lf-small lf-muted" }, hint)),
      this.link(this.t.textDownloadAdapter, `${this.zipAddress(checkpoint)}&content=weights`, "btn-primary"),
      this.trainOn(checkpoint),
      this.zip(checkpoint),
    );
    return element("section", { class: "card" }, head, ...rows.map((row) => this.row(row, `${checkpoint.path}/`)));
  }

  badge(label) {
    return element("span", { class: "lf-badge is-accent" }, label);
  }

  checkpoint(checkpoint) {
    const total = checkpoint.rows.reduce((sum, row) => sum + row.size_bytes, 0);
    const title = element("span", { class: "lf-item-body lf-row" }, element("strong", {}, `checkpoint-${checkpoint.step}`));
    if (checkpoint.is_latest) title.append(this.badge(this.t.textLatest));
    if (checkpoint.is_best) title.append(this.badge(this.t.textBest));
    const summary = element("summary", { class: "lf-item" }, icon("chevron-right"), icon("folder"), title, element("span", { class: "lf-small lf-muted lf-number" }, bytes(total)), this.zip(checkpoint));
    const onward = this.trainOn(checkpoint);
    return element("details", { class: "lf-details" }, summary, onward ? element("div", { class: "lf-item" }, onward) : null, ...checkpoint.rows.map((row) => this.row(row, `${checkpoint.path}/`)));
  }

  empty() {
    return element("section", { class: "card" }, element("div", { class: "lf-empty" }, icon("folder"), element("strong", {}, this.t.textEmpty), element("p", {}, this.t.textEmptyHint)));
  }

  show(rows) {
    const found = grouped(rows);
    const checkpoints = found.checkpoints;
    const latest = checkpoints.find((one) => one.is_latest) || checkpoints[0];
    const parts = [
      rows.length ? null : this.empty(),
      this.may ? null : element("p", { class: "lf-muted" }, this.t.textNoRight),
      latest ? this.adapter(latest) : null,
      checkpoints.length ? this.card(this.t.textCheckpoints, ...checkpoints.map((one) => this.checkpoint(one))) : null,
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
  return Math.max(0, ...rows.map((row) => (row.checkpoint ? row.checkpoint.step : 0)));
}
