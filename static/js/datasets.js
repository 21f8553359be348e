// Datasets: uploads at the top of the list; deleting one.
import "./base.js";

import { api } from "./core/api.js";
import { dialog } from "./core/dialog.js";
import { text } from "./core/texts.js";
import { uploaderMake } from "./core/uploader.js";

const upload = document.querySelector("[data-upload]");
if (upload) {
  uploaderMake(upload, () => window.htmx.ajax("GET", window.location.href, { target: "#dataset-list", swap: "outerHTML" }));
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-dataset-delete]");
  if (!button) return;
  const went = await dialog({
    title: text("delete_title", { name: button.dataset.name }),
    body: text("delete_body"),
    ok: text("delete_ok"),
    danger: true,
    work: () => api(`datasets/${button.dataset.datasetDelete}/`, { method: "DELETE" }),
  });
  if (went) window.location.href = button.dataset.list;
});
