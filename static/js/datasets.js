// Datasets: uploads at the top of the list; deleting one.
import "./base.js";

import { api } from "./core/api.js";
import { columnsMake } from "./core/columns.js";
import { dialog } from "./core/dialog.js";
import { sharesMake } from "./core/shares.js";
import { text } from "./core/texts.js";
import { uploaderMake } from "./core/uploader.js";

const upload = document.querySelector("[data-upload]");
if (upload) {
  const detail = upload.dataset.detail;
  uploaderMake(upload, (dataset) => {
    if (upload.dataset.versionOf) window.location.href = detail.replace("/0/", `/${dataset.id}/`);
    else window.htmx.ajax("GET", window.location.href, { target: "#dataset-list", swap: "outerHTML" });
  });
}

const columns = document.querySelector("[data-columns]");
if (columns) columnsMake(columns);

const shares = document.querySelector("[data-shares]");
if (shares) sharesMake(shares);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-dataset-delete]");
  if (!button) return;
  const went = await dialog({
    title: text("delete_title", { name: button.dataset.name }),
    body: `${button.dataset.used} ${text("delete_body")}`.trim(),
    ok: text("delete_ok"),
    danger: true,
    work: () => api(`datasets/${button.dataset.datasetDelete}/`, { method: "DELETE" }),
  });
  if (went) window.location.href = button.dataset.list;
});
