// The form as it stands is kept on the server, so that a reload or another machine finds it. One save at a time; what
// another tab has kept since is never overwritten without a word.
import { api } from "../core/api.js";
import { ago } from "../core/format.js";
import { text } from "../core/texts.js";

const WAIT_MS = 600;
const TAB = "lf-tab";
const LEFT = "lf-form-left"; // what was typed in the last moment before this page went
const CONFLICT = 409;

function stored(name) {
  try {
    return JSON.parse(window.sessionStorage.getItem(name));
  } catch {
    return null; // not ours, or cut off
  }
}

/** A reloaded page is the same tab; a copy of it, with a copy of its storage, is another one. */
function tabName() {
  const [entry] = performance.getEntriesByType("navigation");
  const known = entry && entry.type === "reload" ? stored(TAB) : null;
  const name = known || `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 10)}`;
  window.sessionStorage.setItem(TAB, JSON.stringify(name));
  return name;
}

export class Keeper {
  /** known: {source, version, tab, draft, saved_at} of the server; draftRead gives the form as it stands. */
  constructor(known, draftRead) {
    Object.assign(this, { source: known.source, version: known.version, known, draftRead });
    this.tab = tabName();
    this.note = document.querySelector("[data-draft-note]");
    this.clash = document.querySelector("[data-draft-clash]");
    this.state = document.querySelector("[data-draft-state]");
    this.timer = 0;
    this.waits = false;
    this.ended = false;
    this.sending = null;
    document.querySelector("[data-draft-discard]").addEventListener("click", () => this.discard());
    document.querySelector("[data-draft-theirs]").addEventListener("click", () => this.theirs());
    document.querySelector("[data-draft-mine]").addEventListener("click", () => this.mine());
    window.addEventListener("pagehide", () => this.leave());
    document.addEventListener("lf:reached", () => this.send());
  }

  /** The form as it was left, or null. */
  restored() {
    const left = stored(LEFT);
    window.sessionStorage.removeItem(LEFT);
    const { known } = this;
    const isNewest = left && left.source === this.source && (left.version === known.version || left.tab === known.tab);
    if (isNewest) {
      this.tab = left.tab; // its last save may still be on its way
      this.soon();
      return left.draft;
    }
    return known.draft || null;
  }

  /** Says that the form is not as new. */
  tell() {
    const when = this.known.saved_at ? ago(new Date(this.known.saved_at)) : text("just_now");
    this.note.querySelector("[data-draft-when]").textContent = text("draft_restored", { when });
    this.note.hidden = false;
  }

  /** The form has changed. */
  soon() {
    if (this.ended) return;
    this.waits = true;
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.send(), WAIT_MS);
  }

  body() {
    return { source: this.source, version: this.version, tab: this.tab, draft: this.draftRead() };
  }

  send() {
    if (this.ended || !this.waits || this.sending || !this.clash.hidden) return;
    this.waits = false;
    this.sending = this.put().finally(() => {
      this.sending = null;
    });
  }

  async put() {
    try {
      this.version = (await api("drafts/", { method: "PUT", body: this.body() })).version;
      this.state.textContent = text("draft_saved");
      if (this.waits) this.soon();
    } catch (error) {
      this.waits = true;
      if (error.status === CONFLICT) this.clash.hidden = false;
      else this.state.textContent = text("draft_not_saved", { reason: error.message });
    }
  }

  /** The page goes: the last moment stays in this tab, and is sent as far as a page that goes can send. */
  leave() {
    if (this.ended || !this.waits || !this.clash.hidden) return;
    const body = this.body();
    if (this.sending) body.version += 1;
    window.sessionStorage.setItem(LEFT, JSON.stringify(body));
    api("drafts/", { method: "PUT", body, keepalive: true }).catch(() => undefined);
  }

  /** Nothing is kept any more; a save on its way is waited for, so that it does not come after. */
  async end() {
    this.ended = true;
    window.clearTimeout(this.timer);
    window.sessionStorage.removeItem(LEFT);
    await this.sending;
    const seen = new URLSearchParams({ source: this.source, version: this.version, tab: this.tab });
    await api(`drafts/?${seen}`, { method: "DELETE" }).catch(() => undefined);
  }

  async discard() {
    await this.end();
    window.location.reload();
  }

  theirs() {
    this.ended = true;
    window.location.reload();
  }

  async mine() {
    try {
      this.version = (await api(`drafts/?source=${encodeURIComponent(this.source)}`)).version;
      this.clash.hidden = true;
      this.waits = true;
      this.send();
    } catch (error) {
      this.state.textContent = text("draft_not_saved", { reason: error.message });
    }
  }
}
