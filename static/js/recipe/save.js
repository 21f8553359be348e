// "Save as recipe": of the form as it stands, or of a job.
import { api } from "../core/api.js";
import { element } from "../core/dom.js";
import { dialog } from "../core/dialog.js";
import { notice } from "../core/notice.js";
import { text } from "../core/texts.js";
import { wordsMake, wordsRead } from "./words.js";

/** "As the next version of X" where the form was filled from a recipe that is one's own to change. */
function nextVersion(recipe, words) {
  const input = element("input", { class: "form-check-input", type: "checkbox", id: "recipe-next" });
  input.addEventListener("change", () => {
    for (const field of words()) field.hidden = input.checked;
    words()[0].querySelector("input").required = !input.checked;
  });
  return element("label", { class: "form-check" }, input, element("span", { class: "form-check-label" }, text("recipe_next", { name: recipe.name })));
}

function boxMake({ name, recipe }) {
  let box = null;
  const extra = recipe ? nextVersion(recipe, () => [...box.querySelectorAll("[data-field]")]) : null;
  box = wordsMake({ name }, extra);
  return box;
}

async function saved(work, name, recipe) {
  const box = boxMake({ name, recipe });
  let made = null;
  const went = await dialog({
    title: text("recipe_title"),
    body: text("recipe_body"),
    ok: text("recipe_ok"),
    choice: text("recipe_datasets"),
    extra: box,
    wide: true,
    work: async ({ choice }) => {
      const next = box.querySelector("#recipe-next");
      made = await work({ ...wordsRead(box), withDatasets: choice, next: Boolean(next && next.checked) });
    },
  });
  if (went) notice(text("recipe_saved", { name: made.name, version: made.version }));
  return made;
}

/** Of a job's page. */
export function recipeOfJob(id, name) {
  return saved(({ withDatasets, name: called, description }) => api(`jobs/${id}/recipe/`, { method: "POST", body: { name: called, description, with_datasets: withDatasets } }), name);
}

/** Of the form: draft as the API of jobs takes it, recipe: {id, name, version} that it was filled from, or nothing. */
export function recipeOfForm(draft, recipe) {
  const send = ({ name, description, withDatasets, next }) => {
    const kept = withDatasets ? draft : { ...draft, datasets: [], validation_datasets: [] };
    if (next) return api(`recipes/${recipe.id}/`, { method: "PATCH", body: { draft: kept, base_version: recipe.version } });
    return api("recipes/", { method: "POST", body: { name, description, draft: kept } });
  };
  return saved(send, draft.name || "", recipe);
}
