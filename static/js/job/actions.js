// The buttons of the job page: what is lost is said before it is lost.
import { api } from "../core/api.js";
import { integer } from "../core/format.js";
import { dialog, notice } from "../core/notice.js";
import { text } from "../core/texts.js";

const ACTIVE = ["assigned", "preparing", "running", "finishing", "stopping", "unknown"];

/** Listens on root; status() gives the newest step and state, reload() shows the header again. */
export function actionsListen(root, { status, reload, lastSaved }) {
  const id = root.dataset.id;
  const post = (what) => api(`jobs/${id}/${what}/`, { method: "POST", body: {} });

  async function done(message) {
    notice(message);
    await reload();
  }

  function cancelBody() {
    if (!ACTIVE.includes(root.dataset.state) || !status().step) return text("cancel_body_queued");
    return text("cancel_body", { steps: integer(Math.max(0, status().step - lastSaved())) });
  }

  const asks = {
    stop: { ask: "stop", message: "stop_asked", path: "stop" },
    cancel: { ask: "cancel", message: "stop_asked", path: "cancel", danger: true, body: cancelBody },
    withdraw: { ask: "withdraw", message: "withdrawn", path: "withdraw" },
  };
  const plain = { start: "started", retry: "retried", checkpoint: "checkpoint_asked" };

  async function asked({ ask, message, path, danger, body }) {
    const went = await dialog({
      title: text(`${ask}_title`, { id }),
      body: body ? body() : text(`${ask}_body`),
      ok: text(`${ask}_ok`),
      danger,
      work: () => post(path),
    });
    if (went) await done(text(message));
  }

  async function remove() {
    const went = await dialog({
      title: text("delete_title", { id }),
      body: text("delete_body"),
      ok: text("delete_ok"),
      choice: root.dataset.attempt === "0" ? "" : text("delete_files"),
      danger: true,
      work: ({ choice }) => api(`jobs/${id}/?files=${choice}`, { method: "DELETE" }),
    });
    if (went) window.location.href = root.dataset.list;
  }

  function rename(on) {
    const form = root.querySelector("[data-rename]");
    form.hidden = !on;
    root.querySelector("[data-name]").hidden = on;
    root.querySelector('[data-act="rename"]').hidden = on;
    if (on) form.elements.name.select();
  }

  async function run(button, name) {
    button.setAttribute("aria-busy", "true");
    try {
      await post(name);
      await done(text(plain[name]));
    } catch (error) {
      notice(error.message, "error");
    } finally {
      button.removeAttribute("aria-busy");
    }
  }

  root.addEventListener("click", (event) => {
    const button = event.target.closest("[data-act]");
    if (!button) return;
    const name = button.dataset.act;
    if (asks[name]) asked(asks[name]);
    else if (plain[name]) run(button, name);
    else if (name === "delete") remove();
    else rename(name === "rename");
  });
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target.closest("[data-rename]")) rename(false);
  });
  root.addEventListener("submit", async (event) => {
    if (!event.target.matches("[data-rename]")) return;
    event.preventDefault();
    try {
      const job = await api(`jobs/${id}/`, { method: "PATCH", body: { name: event.target.elements.name.value } });
      root.querySelector("[data-name]").textContent = job.name;
      rename(false);
      await done(text("renamed"));
    } catch (error) {
      notice(error.message, "error");
    }
  });
}
