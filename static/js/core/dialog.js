// The one dialog of the page.
import Modal from "bootstrap/js/dist/modal.js";

import { text } from "./texts.js";

/** To where the person was; to the button of the menu when that has closed, to the page when it is gone. */
function focusBack(from) {
  const menu = from.closest(".dropdown");
  const target = menu ? menu.querySelector('[data-bs-toggle="dropdown"]') : from;
  const seen = target.isConnected && target.getClientRects().length > 0;
  (seen ? target : document.getElementById("main")).focus();
}

/** Shows something, with nothing to do but to close it. */
export function tell({ title, extra }) {
  return dialog({ title, body: "", ok: "", extra, wide: true, work: () => undefined });
}

/** What cannot be taken back is not one press of Enter away. */
function focusFirst({ ok, danger, back, field, button }) {
  return danger || !ok ? back : field || button;
}

/**
 * Asks before something is lost. work({choice}) does it; its error is shown inside the dialog.
 * extra: an element between the text and the choice. wide: for a form. ok: empty when there is nothing to do.
 * Resolves to true when it was done, false when the person went back.
 */
export function dialog({ title, body, ok, danger = false, choice = "", extra = null, wide = false, work }) {
  const root = document.getElementById("dialog");
  const form = root.querySelector("form");
  const button = root.querySelector("[data-dialog-ok]");
  const error = root.querySelector("[data-dialog-error]");
  const box = root.querySelector("[data-dialog-choice]");
  root.querySelector(".modal-title").textContent = title;
  root.querySelector("[data-dialog-text]").textContent = body;
  root.querySelector("[data-dialog-text]").hidden = !body;
  root.querySelector(".modal-dialog").classList.toggle("modal-lg", wide);
  root.querySelector("[data-dialog-extra]").replaceChildren(...(extra ? [extra] : []));
  button.textContent = ok;
  button.hidden = !ok;
  const back = root.querySelector("[data-dialog-back]");
  back.textContent = ok ? back.dataset.dialogBack : text("close");
  button.className = `btn ${danger ? "btn-danger" : "btn-primary"}`;
  box.hidden = !choice;
  box.querySelector("span").textContent = choice;
  Object.assign(box.querySelector("input"), { checked: false, disabled: false });
  error.hidden = true;
  const modal = Modal.getOrCreateInstance(root);
  const from = document.activeElement || document.body;
  const field = wide && ok ? extra.querySelector("input, select") : null;
  const first = focusFirst({ ok, danger, back, field, button });
  return new Promise((resolve) => {
    let done = false;
    form.onsubmit = async (event) => {
      event.preventDefault();
      button.setAttribute("aria-busy", "true");
      try {
        await work({ choice: box.querySelector("input").checked });
        done = true;
        modal.hide();
      } catch (problem) {
        error.textContent = problem.message;
        error.hidden = false;
      } finally {
        button.removeAttribute("aria-busy");
      }
    };
    root.addEventListener(
      "hidden.bs.modal",
      () => {
        focusBack(from);
        resolve(done);
      },
      { once: true },
    );
    root.addEventListener("shown.bs.modal", () => first.focus(), { once: true });
    modal.show();
  });
}
