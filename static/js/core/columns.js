// Says which column of a dataset is what, and waits until its rows are checked under these names.
import { api } from "./api.js";
import { percent } from "./format.js";
import { text } from "./texts.js";

const POLL_MS = 500;

const pause = (ms) => new Promise((resolve) => window.setTimeout(resolve, ms));

function chosen(form) {
  const selects = [...form.querySelectorAll("[data-column]")].filter((one) => one.value && one.value !== one.dataset.column);
  return Object.fromEntries(selects.map((one) => [one.dataset.column, one.value]));
}

async function checked(upload, told) {
  for (let found = upload; !found.dataset; found = await api(`uploads/${upload.id}/`)) {
    told(found.size_bytes ? found.checked_bytes / found.size_bytes : 0);
    await pause(POLL_MS);
  }
}

export function columnsMake(form) {
  const state = form.querySelector("[data-columns-state]");
  const fault = form.querySelector("[data-columns-error]");
  const button = form.querySelector("button[type=submit]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    fault.hidden = true;
    button.disabled = true;
    try {
      const upload = await api(`datasets/${form.dataset.columns}/columns/`, { method: "POST", body: { columns: chosen(form) } });
      await checked(upload, (share) => {
        state.textContent = `${text("columns_checking")} ${percent(100 * share)}`;
      });
      window.location.reload();
    } catch (error) {
      fault.textContent = error.message;
      fault.hidden = false;
      state.textContent = "";
      button.disabled = false;
    }
  });
}
