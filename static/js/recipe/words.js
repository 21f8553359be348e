// Name and description of a recipe, as the fields of a dialog.
import { element } from "../core/dom.js";
import { text } from "../core/texts.js";

export const NAME_MAX = 120;

/** The two fields in a box; extra fields stand below. */
export function wordsMake({ name = "", description = "" }, ...extra) {
  const field = (id, label, input) => element("div", { "data-field": id }, element("label", { class: "form-label", for: input.id }, label), input);
  const described = element("textarea", { class: "form-control", id: "recipe-description", name: "description", rows: 2, maxlength: 2000 });
  described.value = description;
  return element(
    "div",
    { class: "lf-stack" },
    field("name", text("recipe_name"), element("input", { class: "form-control", id: "recipe-name", name: "name", maxlength: NAME_MAX, autocomplete: "off", required: true, value: name })),
    field("description", text("recipe_description"), described),
    ...extra,
  );
}

export function wordsRead(box) {
  return { name: box.querySelector("#recipe-name").value, description: box.querySelector("#recipe-description").value };
}
