// A recipe's page: rename, share, restore an older version, delete.
import "./base.js";

import { api } from "./core/api.js";
import { dialog } from "./core/dialog.js";
import { notice } from "./core/notice.js";
import { pageData, text } from "./core/texts.js";
import { sharesAsk } from "./recipe/share.js";
import { wordsMake, wordsRead } from "./recipe/words.js";

const head = document.querySelector("[data-recipe]");

async function describe({ recipe, name, description }) {
  const box = wordsMake({ name, description });
  const went = await dialog({
    title: text("rename_title"),
    body: "",
    ok: text("rename_ok"),
    extra: box,
    wide: true,
    work: () => api(`recipes/${recipe}/`, { method: "PATCH", body: wordsRead(box) }),
  });
  if (went) window.location.reload();
}

async function restore({ recipe }, number) {
  const went = await dialog({
    title: text("restore_title", { number }),
    body: text("restore_body"),
    ok: text("restore_ok"),
    work: () => api(`recipes/${recipe}/versions/`, { method: "POST", body: { restore: Number(number) } }),
  });
  if (went) window.location.href = window.location.pathname;
}

async function remove({ recipe, name, list }) {
  const went = await dialog({
    title: text("delete_title", { name }),
    body: text("delete_body"),
    ok: text("delete_ok"),
    danger: true,
    work: () => api(`recipes/${recipe}/`, { method: "DELETE" }),
  });
  if (went) window.location.href = list;
}

async function share({ recipe, name }) {
  try {
    await sharesAsk(`recipes/${recipe}/shares/`, pageData("groups") || [], text("share_title", { name }));
  } catch (error) {
    notice(error.message, "error");
  }
}

if (head) {
  head.addEventListener("click", (event) => {
    const button = event.target.closest("[data-recipe-act]");
    if (!button) return;
    const acts = { describe, restore, share, delete: remove };
    acts[button.dataset.recipeAct](head.dataset, button.dataset.number);
  });
}
