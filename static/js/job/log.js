// Keeps the log of one job complete: the tail by GET, then frames, and GET again where a frame left a gap.
import { api } from "../core/api.js";
import { integer } from "../core/format.js";
import { text } from "../core/texts.js";
import { Cursor } from "./cursor.js";
import { LogView } from "./logview.js";

const TAIL_LINES = 2000;
const PAGE_LINES = 5000;
const FILL_LINES = 200;
const FILL_PAGES = 10;

// What stands where the rate caps left lines out; positions stay whole, so it is one line of the view.
const leftOut = (part) => (part.left_out ? [`── ${text("log_left_out", { count: integer(part.left_out) })} ──`] : []);
const lineText = (line) => (typeof line === "string" ? line : line.text);

export class JobLog {
  constructor(root, id) {
    this.id = id;
    this.view = new LogView(root);
    this.cursor = new Cursor();
    this.seen = 0; // the attempt of the last line shown
    this.first = null; // cursor of the first line that is shown, null = the beginning
    this.catching = null;
    this.earlier = root.querySelector('[data-log="earlier"]');
    this.earlier.querySelector("button").addEventListener("click", () => this.earlierLoad());
  }

  async start() {
    try {
      const page = await api(`jobs/${this.id}/log/?tail=${TAIL_LINES}`);
      this.take(page);
      this.earlierShow((await this.fill(page)) > 0);
      this.view.loadedSet();
    } catch (error) {
      this.view.loadedSet();
      this.view.append([text("log_load_failed", { reason: error.message })]);
    }
  }

  /** A page ends where lines were left out: take more, so that the last of them do not stand alone. */
  async fill(last) {
    let page = last;
    let lines = page.lines.length;
    this.first = new Cursor(`${page.attempt}:${page.from}`);
    for (let more = 0; more < FILL_PAGES && page.from > 0 && lines < FILL_LINES; more += 1) {
      page = await api(`jobs/${this.id}/log/?tail=${TAIL_LINES}&before=${this.first}`);
      if (!page.lines.length && !page.left_out) break;
      this.view.prepend([...leftOut(page), ...page.lines.map(lineText)]);
      lines += page.lines.length;
      this.first = new Cursor(`${page.attempt}:${page.from}`);
    }
    return page.from;
  }

  earlierShow(on) {
    this.earlier.hidden = !on;
  }

  /** A page of the API: its lines belong behind the cursor. */
  take(page) {
    const lines = [...leftOut(page), ...page.lines.map(lineText)];
    if (lines.length) this.mark(page.attempt);
    this.view.append(lines);
    const next = new Cursor(page.next);
    this.cursor.move(next.attempt, next.position);
    this.view.partialSet(page.partial);
  }

  mark(attempt) {
    if (attempt !== this.seen && (this.seen || attempt > 1)) this.view.append([`── ${text("log_attempt", { n: attempt })} ──`]);
    this.seen = attempt;
  }

  frame(frame) {
    if (this.catching) return; // what is being fetched holds this frame's lines as well
    const place = this.cursor.place(frame.attempt, frame.from, frame.to);
    if (place === "old") return;
    if (place !== "next") {
      this.catchUp();
      return;
    }
    const lines = [...leftOut(frame), ...frame.lines.map(lineText)];
    if (lines.length) this.mark(frame.attempt);
    this.view.append(lines);
    this.cursor.move(frame.attempt, frame.to);
    if ("partial" in frame) this.view.partialSet(frame.partial);
  }

  /** Fetches what lies between the cursor and the end. */
  catchUp() {
    if (!this.catching) {
      this.catching = this.fetchRest().finally(() => {
        this.catching = null;
      });
    }
    return this.catching;
  }

  async fetchRest() {
    for (;;) {
      const after = this.cursor.toString();
      const page = await api(`jobs/${this.id}/log/?limit=${PAGE_LINES}${after ? `&after=${after}` : ""}`);
      this.take(page);
      if (!page.more && !page.lines.length && !page.left_out) return;
    }
  }

  /** Everything before the first line that is shown, from the beginning of the first attempt. */
  async earlierLoad() {
    const button = this.earlier.querySelector("button");
    button.textContent = text("log_loading");
    button.disabled = true;
    try {
      this.view.prepend(await this.linesBefore(this.first));
      this.earlierShow(false);
    } catch (error) {
      button.textContent = text("log_load_failed", { reason: error.message });
      button.disabled = false;
    }
  }

  async linesBefore(end) {
    const lines = [];
    let before = end.toString();
    while (before) {
      const page = await api(`jobs/${this.id}/log/?tail=${PAGE_LINES}&before=${before}`);
      lines.unshift(...leftOut(page), ...page.lines.map(lineText));
      before = page.from > 0 && (page.lines.length || page.left_out) ? `${page.attempt}:${page.from}` : "";
    }
    return lines;
  }
}
