// Uploads by tus: progress, pause, going on after a reload, and the verdict of the row check.
import { api } from "./api.js";
import { afterLoad, element, icon } from "./dom.js";
import { bytes, integer } from "./format.js";
import { text } from "./texts.js";

const ENDPOINT = "/api/v1/uploads/";
const CHUNK_BYTES = 16 * 1024 * 1024;
const RETRY_MS = [0, 1000, 3000, 5000, 10000, 20000];
const POLL_MS = 500;
const VERDICT_WAIT_MS = 30 * 60 * 1000;

const pause = (ms) => new Promise((resolve) => window.setTimeout(resolve, ms));

/** What the server said; its status when it said nothing that can be read. */
function refusal(response) {
  try {
    return JSON.parse(response.getBody()).error.message;
  } catch {
    return text("error_status", { status: response.getStatus() });
  }
}

class Item {
  constructor(uploader, file) {
    this.uploader = uploader;
    this.file = file;
    this.status = element("span", { class: "lf-small lf-muted" });
    this.bar = element("progress", { class: "lf-bar is-accent", max: "1", value: "0", "aria-label": file.name });
    this.buttons = element("span", { class: "lf-row lf-push" });
    this.more = element("div");
    const head = element("div", { class: "lf-row" }, icon("file"), element("strong", { class: "lf-cut", title: file.name }, file.name), this.status, this.buttons);
    this.root = element("div", { class: "lf-upload-item lf-stack-sm" }, head, this.bar, this.more);
    uploader.list.prepend(this.root);
  }

  buttonsSet(...names) {
    const acts = { pause: () => this.pause(), resume: () => this.send(), retry: () => this.send(), cancel: () => this.cancel() };
    this.buttons.replaceChildren(
      ...names.map((name) => element("button", { class: "btn btn-quiet btn-sm", type: "button", onclick: acts[name] }, text(`upload_${name}`))),
    );
  }

  async start() {
    const tus = await import(this.uploader.address);
    this.upload = new tus.Upload(this.file, {
      endpoint: ENDPOINT,
      chunkSize: CHUNK_BYTES,
      retryDelays: RETRY_MS,
      removeFingerprintOnSuccess: true,
      metadata: { filename: this.file.name, ...(this.uploader.versionOf && { version_of: this.uploader.versionOf }) },
      headers: { "X-CSRFToken": document.body.dataset.csrf },
      onProgress: (sent, total) => this.progress(sent, total),
      onSuccess: () => this.sent(),
      onError: (error) => this.failed(error),
    });
    const before = await this.upload.findPreviousUploads();
    if (before.length) this.upload.resumeFromPreviousUpload(before[0]);
    this.send();
  }

  send() {
    this.more.replaceChildren();
    this.buttonsSet("pause", "cancel");
    this.upload.start();
  }

  progress(sent, total) {
    this.bar.value = total ? sent / total : 1;
    this.shown = { sent: bytes(sent), total: bytes(total) };
    this.status.textContent = text("upload_sending", this.shown);
  }

  async pause() {
    await this.upload.abort();
    this.status.textContent = text("upload_paused", this.shown || { sent: bytes(0), total: bytes(this.file.size) });
    this.buttonsSet("resume", "cancel");
  }

  async cancel() {
    await this.upload.abort(true).catch(() => undefined);
    this.root.remove();
  }

  failed(error) {
    const response = error.originalResponse;
    const reason = response ? refusal(response) : text("error_network");
    this.status.textContent = "";
    this.more.replaceChildren(element("p", { class: "lf-error", role: "alert" }, text("upload_failed", { reason })));
    this.buttonsSet("retry", "cancel");
  }

  async sent() {
    this.bar.value = 1;
    this.buttonsSet();
    this.status.textContent = text("upload_checking");
    try {
      const dataset = await this.verdict(this.upload.url.replace(/\/$/, "").split("/").pop());
      this.judged(dataset);
    } catch (error) {
      this.status.textContent = "";
      this.more.replaceChildren(element("p", { class: "lf-error", role: "alert" }, error.message));
    }
  }

  async verdict(id) {
    for (const end = Date.now() + VERDICT_WAIT_MS; Date.now() < end; await pause(POLL_MS)) {
      const upload = await api(`uploads/${id}/`);
      if (upload.dataset) return api(`datasets/${upload.dataset}/`);
      if (upload.size_bytes) this.bar.value = upload.checked_bytes / upload.size_bytes;
    }
    throw new Error(text("upload_lost"));
  }

  judged(dataset) {
    const good = dataset.state === "ready";
    this.bar.hidden = true;
    this.status.textContent = good ? text("upload_ready", { rows: integer(dataset.rows) }) : text("upload_invalid", { count: integer(dataset.error_count) });
    this.status.className = good ? "lf-chip is-green" : "lf-chip is-red";
    this.buttons.replaceChildren(element("a", { class: "btn btn-quiet btn-sm", href: this.uploader.detail.replace("/0/", `/${dataset.id}/`) }, text("upload_open")));
    const lines = dataset.errors.map((error) => element("li", {}, element("strong", {}, error.line ? text("upload_line", { line: error.line }) : text("upload_file")), element("span", {}, error.message)));
    this.more.replaceChildren(lines.length ? element("ol", {}, ...lines) : "");
    this.uploader.onDataset(dataset);
  }
}

class Uploader {
  constructor(root, onDataset) {
    this.root = root;
    this.address = root.dataset.tus;
    this.detail = root.dataset.detail;
    this.versionOf = root.dataset.versionOf;
    this.list = root.querySelector("[data-upload-list]");
    this.onDataset = onDataset;
    this.listen();
    afterLoad(() => this.unfinished());
  }

  listen() {
    const drop = this.root.querySelector(".lf-drop");
    const input = drop.querySelector("input");
    this.endings = input.accept.split(",");
    input.addEventListener("change", () => {
      this.take(input.files);
      input.value = "";
    });
    drop.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      input.click();
    });
    for (const name of ["dragenter", "dragover"]) {
      drop.addEventListener(name, (event) => {
        event.preventDefault();
        drop.classList.add("is-over");
      });
    }
    for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("is-over"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      this.take(event.dataTransfer.files);
    });
  }

  take(files) {
    for (const file of files) {
      const item = new Item(this, file);
      if (this.endings.some((ending) => file.name.toLowerCase().endsWith(ending))) item.start();
      else item.more.append(element("p", { class: "lf-error", role: "alert" }, text("upload_wrong_type")));
    }
  }

  /** What was begun in an earlier visit: the browser forgets the file, tus remembers how far it was. */
  async unfinished() {
    const answer = await api("uploads/").catch(() => ({ results: [] }));
    for (const upload of answer.results.filter((one) => !one.is_complete)) {
      this.list.append(element("p", { class: "lf-hint" }, text("upload_resume_found", { name: upload.filename })));
    }
  }
}

export function uploaderMake(root, onDataset) {
  return new Uploader(root, onDataset);
}
