// The log as a virtual list: any number of lines, a few dozen elements. Lines are set as text only.
import { debounce, element } from "../core/dom.js";
import { integer } from "../core/format.js";
import { text } from "../core/texts.js";
import { Layout, rowsOf } from "./loglayout.js";

const ROW_PX = 18;
const EDGE_ROWS = 20;
// Beyond this the oldest quarter goes from memory; the whole log stays to be downloaded.
const MOST_LINES = 400000;

export class LogView {
  constructor(root) {
    const part = (name) => root.querySelector(`[data-log="${name}"]`);
    this.view = part("view");
    this.space = part("space");
    this.box = part("lines");
    this.partial = part("partial");
    this.empty = part("empty");
    this.count = part("count");
    this.followButton = part("follow");
    this.wrapButton = part("wrap");
    this.lines = [];
    this.shown = null; // indexes of the lines that match the filter; null = all
    this.match = null;
    this.layout = new Layout();
    this.follow = true;
    this.wrap = this.wrapButton.getAttribute("aria-pressed") === "true";
    this.drawn = { first: -1, last: -1 };
    this.waiting = false;
    this.loaded = false; // until the first answer nobody knows whether there are lines
    this.listen(root.querySelector("#log-search"));
    this.measure();
  }

  listen(search) {
    this.view.addEventListener("scroll", () => this.onScroll(), { passive: true });
    this.followButton.addEventListener("click", () => this.followSet(!this.follow));
    this.wrapButton.addEventListener("click", () => {
      this.wrap = !this.wrap;
      this.wrapButton.setAttribute("aria-pressed", String(this.wrap));
      this.relayout();
    });
    search.addEventListener("input", debounce(() => this.filter(search.value), 150));
    new ResizeObserver(() => this.measure() && this.relayout()).observe(this.view);
  }

  /** Cells in a row; true when that has changed. */
  measure() {
    const probe = element("div", { class: "lf-log-line" }, "0".repeat(100));
    probe.style.position = "absolute";
    probe.style.visibility = "hidden";
    probe.style.whiteSpace = "pre";
    probe.style.paddingLeft = "0";
    probe.style.paddingRight = "0";
    this.box.append(probe);
    const letter = probe.getBoundingClientRect().width / 100;
    probe.remove();
    const style = window.getComputedStyle(this.box);
    const width = this.view.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const columns = Math.max(10, Math.floor(width / (letter || 7)));
    const changed = columns !== this.columns;
    this.columns = columns;
    return changed;
  }

  rows(index) {
    return this.wrap ? rowsOf(this.lines[index], this.columns) : 1;
  }

  /** More lines at the end; those before the newest one are never touched. */
  append(lines) {
    if (!lines.length) return;
    for (const line of lines) {
      const index = this.lines.push(line) - 1;
      if (this.shown === null) this.layout.push(this.rows(index));
      else if (this.match(line)) {
        this.shown.push(index);
        this.layout.push(this.rows(index));
      }
    }
    if (this.lines.length > MOST_LINES) this.drop();
    this.changed();
  }

  /** Lines that come before all others; what is seen stays where it is. */
  prepend(lines) {
    const before = this.layout.total;
    this.lines = lines.concat(this.lines);
    this.refilter();
    const moved = (this.layout.total - before) * ROW_PX;
    this.space.style.height = `${this.layout.total * ROW_PX}px`;
    this.view.scrollTop += moved;
    this.changed();
  }

  drop() {
    this.lines = this.lines.slice(MOST_LINES / 4);
    this.refilter();
  }

  /** The first answer is there: an empty view is an empty log from now on. */
  loadedSet() {
    this.loaded = true;
    this.changed();
  }

  partialSet(line) {
    this.partial.hidden = !line;
    this.partial.textContent = line || "";
  }

  filter(query) {
    const words = query.trim();
    const pattern = /^\/(.+)\/(i?)$/.exec(words);
    if (!words) this.match = null;
    else if (pattern) {
      try {
        const wanted = new RegExp(pattern[1], pattern[2]);
        this.match = (line) => wanted.test(line);
      } catch {
        return; // a pattern half typed
      }
    } else {
      const wanted = words.toLowerCase();
      this.match = (line) => line.toLowerCase().includes(wanted);
    }
    this.relayout();
  }

  refilter() {
    this.shown = this.match ? [] : null;
    this.layout.clear();
    for (let index = 0; index < this.lines.length; index += 1) {
      if (this.match && !this.match(this.lines[index])) continue;
      if (this.shown) this.shown.push(index);
      this.layout.push(this.rows(index));
    }
    this.drawn = { first: -1, last: -1 };
  }

  relayout() {
    this.refilter();
    this.changed();
  }

  followSet(on) {
    this.follow = on;
    this.followButton.setAttribute("aria-pressed", String(on));
    if (on) this.changed();
  }

  onScroll() {
    const fromEnd = this.view.scrollHeight - this.view.scrollTop - this.view.clientHeight;
    if (this.follow && fromEnd > ROW_PX * 2 && !this.jumping) this.followSet(false);
    else if (!this.follow && fromEnd < 2) this.followSet(true);
    this.draw();
  }

  changed() {
    if (this.waiting) return;
    this.waiting = true;
    window.requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  }

  paint() {
    const total = this.layout.count;
    this.empty.hidden = total > 0 || !this.partial.hidden;
    this.empty.textContent = text(this.lines.length ? "log_no_match" : this.loaded ? "log_empty" : "log_loading");
    if (this.loaded) this.view.classList.toggle("is-empty", !this.lines.length && this.partial.hidden);
    if (!this.loaded && !this.lines.length) this.count.textContent = "";
    else this.count.textContent = this.match
      ? text("log_matches", { count: integer(total), total: integer(this.lines.length) })
      : text("log_lines", { count: integer(this.lines.length) });
    this.space.style.height = `${this.layout.total * ROW_PX}px`;
    if (this.follow) this.toEnd();
    this.draw();
  }

  toEnd() {
    this.jumping = true;
    this.view.scrollTop = this.view.scrollHeight;
    window.requestAnimationFrame(() => {
      this.jumping = false;
    });
  }

  draw() {
    if (!this.layout.count) {
      this.box.replaceChildren();
      this.drawn = { first: -1, last: -1 };
      return;
    }
    const top = Math.floor(this.view.scrollTop / ROW_PX) - EDGE_ROWS;
    const bottom = Math.ceil((this.view.scrollTop + this.view.clientHeight) / ROW_PX) + EDGE_ROWS;
    const first = this.layout.find(Math.max(0, top));
    const last = this.layout.find(Math.min(bottom, this.layout.total - 1));
    if (first === this.drawn.first && last === this.drawn.last) return;
    this.drawn = { first, last };
    const fragment = document.createDocumentFragment();
    for (let at = first; at <= last; at += 1) {
      const line = this.lines[this.shown ? this.shown[at] : at];
      fragment.append(element("div", { class: lineClass(line) }, line || " "));
    }
    this.box.classList.toggle("is-wrapped", this.wrap);
    this.box.replaceChildren(fragment);
    this.box.style.transform = `translateY(${this.layout.start(first) * ROW_PX}px)`;
    if (this.wrap) this.verify(first);
  }

  /** Glyphs of a fallback font can be wider than a cell: believe what was laid out. */
  verify(first) {
    let wrong = 0;
    [...this.box.children].forEach((child, offset) => {
      wrong += Math.abs(this.layout.correct(first + offset, Math.max(1, Math.round(child.offsetHeight / ROW_PX))));
    });
    if (wrong) this.space.style.height = `${this.layout.total * ROW_PX}px`;
  }
}

function lineClass(line) {
  if (line.startsWith("── ")) return "lf-log-line is-mark";
  if (/\b(error|exception|traceback)\b/i.test(line) || line.startsWith("[ERROR")) return "lf-log-line is-error";
  if (/^\[?WARN|\bwarning\b/i.test(line)) return "lf-log-line is-warning";
  return "lf-log-line";
}
