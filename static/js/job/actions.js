// The buttons of the job page: what is lost is said before it is lost.
import { api } from "../core/api.js";
import { integer } from "../core/format.js";
import { dialog } from "../core/dialog.js";
import { notice } from "../core/notice.js";
import { text } from "../core/texts.js";
import { recipeOfJob } from "../recipe/save.js";
import { migrateAsk } from "./migrate.js";
import { resumeAsk } from "./resume.js";

const ACTIVE = ["assigned", "preparing", "running", "finishing", "stopping", "unknown"];

const PLAIN = { start: "started", retry: "retried", checkpoint: "checkpoint_asked" };
const ASKED = {
  stop: { message: "stop_asked" },
  cancel: { message: "stop_asked", danger: true },
  withdraw: { message: "withdrawn" },
};

/** status() gives the newest figures, reload() shows the header again, lastSaved() the last saved step. */
class Actions {
  constructor(root, { status, reload, lastSaved }) {
    Object.assign(this, { root, status, reload, lastSaved, id: root.dataset.id });
  }

  post(what) {
    return api(`jobs/${this.id}/${what}/`, { method: "POST", body: {} });
  }

  async done(message) {
    notice(message);
    await this.reload();
  }

  /** The newest step; what the server rendered while no frame has come yet. */
  step() {
    const known = this.status().step;
    if (known !== undefined) return known;
    const part = this.root.querySelector('[data-live="step"]');
    return (part && Number.parseInt(part.textContent, 10)) || 0;
  }

  /** Name of the node that it is on. */
  node() {
    const link = this.root.querySelector("[data-node-of-job]");
    return link ? link.textContent : "";
  }

  cancelBody() {
    const step = this.step();
    if (!ACTIVE.includes(this.root.dataset.state) || !step) return text("cancel_body_queued");
    return text("cancel_body", { steps: integer(Math.max(0, step - this.lastSaved())) });
  }

  async ask(name) {
    const went = await dialog({
      title: text(`${name}_title`, { id: this.id }),
      body: name === "cancel" ? this.cancelBody() : text(`${name}_body`),
      ok: text(`${name}_ok`),
      danger: ASKED[name].danger,
      work: () => this.post(name),
    });
    if (went) await this.done(text(ASKED[name].message));
  }

  async asked(button, ask, message) {
    button.setAttribute("aria-busy", "true");
    try {
      if (await ask()) await this.done(text(message));
    } catch (error) {
      notice(error.message, "error");
    } finally {
      button.removeAttribute("aria-busy");
    }
  }

  async remove() {
    const went = await dialog({
      title: text("delete_title", { id: this.id }),
      body: text("delete_body"),
      ok: text("delete_ok"),
      choice: this.root.dataset.attempt === "0" ? "" : text("delete_files"),
      danger: true,
      work: ({ choice }) => api(`jobs/${this.id}/?files=${choice}`, { method: "DELETE" }),
    });
    if (went) window.location.href = this.root.dataset.list;
  }

  async run(button, name) {
    button.setAttribute("aria-busy", "true");
    try {
      await this.post(name);
      await this.done(text(PLAIN[name]));
    } catch (error) {
      notice(error.message, "error");
    } finally {
      button.removeAttribute("aria-busy");
    }
  }

  rename(on) {
    const form = this.root.querySelector("[data-rename]");
    form.hidden = !on;
    this.root.querySelector("[data-name]").hidden = on;
    this.root.querySelector('[data-act="rename"]').hidden = on;
    if (on) form.elements.name.select();
  }

  async renameSend(form) {
    try {
      await api(`jobs/${this.id}/`, { method: "PATCH", body: { name: form.elements.name.value } });
      this.rename(false);
      await this.done(text("renamed"));
    } catch (error) {
      notice(error.message, "error");
    }
  }

  /** Among one's own waiting jobs: first, up, down, last. */
  async move(move) {
    try {
      await api(`jobs/${this.id}/move/`, { method: "POST", body: { move } });
      await this.done(text("moved"));
    } catch (error) {
      notice(error.message, "error");
    }
  }

  async keep(on) {
    try {
      await api(`jobs/${this.id}/`, { method: "PATCH", body: { keep: on } });
      await this.done(text(on ? "kept" : "kept_no_longer"));
    } catch (error) {
      notice(error.message, "error");
    }
  }

  press(button) {
    const name = button.dataset.act;
    if (ASKED[name]) this.ask(name);
    else if (PLAIN[name]) this.run(button, name);
    else if (name === "resume") this.asked(button, () => resumeAsk(this.id), "resumed");
    else if (name === "migrate") this.asked(button, () => migrateAsk(this.id, this.node()), "migrate_begun");
    else if (name === "migrate-cancel") this.asked(button, () => this.post("migrate/cancel"), "migrate_called_off");
    else if (name === "recipe") recipeOfJob(this.id, this.root.querySelector("[data-name]").textContent);
    else if (name === "delete") this.remove();
    else if (name === "keep" || name === "unkeep") this.keep(name === "keep");
    else if (name.startsWith("move-")) this.move(name.slice("move-".length));
    else this.rename(name === "rename");
  }
}

export function actionsListen(root, given) {
  const actions = new Actions(root, given);
  root.addEventListener("click", (event) => {
    const button = event.target.closest("[data-act]");
    if (button) actions.press(button);
  });
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target.closest("[data-rename]")) actions.rename(false);
  });
  root.addEventListener("submit", (event) => {
    if (!event.target.matches("[data-rename]")) return;
    event.preventDefault();
    actions.renameSend(event.target);
  });
}
