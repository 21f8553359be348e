// Reserving devices: the dialog's fields, times in the reader's own zone, and what is wrong at its field.
import { api } from "../core/api.js";
import { dialog } from "../core/dialog.js";
import { element } from "../core/dom.js";
import { clock, day } from "../core/format.js";
import { pageData, text } from "../core/texts.js";

const HOUR_MS = 3600_000;

/** As a field of type datetime-local takes it. */
const localText = (date) => `${day(date)}T${clock(date)}`;

function devicesShow(box, node) {
  box.replaceChildren(
    ...node.devices.map((device) =>
      element(
        "label",
        { class: "lf-pick" },
        element("input", { class: "form-check-input", type: "checkbox", value: device.uuid }),
        element("span", {}, device.label),
        element("span", { class: "lf-small lf-muted lf-cut" }, device.name),
      ),
    ),
  );
}

function formMake(data) {
  const box = document.getElementById("reserve-form").content.cloneNode(true).firstElementChild;
  const find = (name) => box.querySelector(`[name="${name}"]`);
  find("node").append(...data.nodes.map((node) => element("option", { value: node.name }, node.name)));
  for (const [kind, names] of [["user", data.people], ["group", data.groups]]) {
    box.querySelector(`[data-holders="${kind}"]`).append(...names.map((name) => element("option", { value: `${kind}:${name}` }, name)));
  }
  const next = new Date(Math.ceil(Date.now() / HOUR_MS) * HOUR_MS);
  find("starts_at").value = localText(next);
  find("ends_at").value = localText(new Date(next.getTime() + 4 * HOUR_MS));
  const show = () => devicesShow(box.querySelector("[data-devices]"), data.nodes.find((node) => node.name === find("node").value) || { devices: [] });
  find("node").addEventListener("change", show);
  show();
  return box;
}

/** Of an empty or half-typed field nothing: the server then says that it is missing. */
function moment(value) {
  const date = new Date(value);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}

function bodyOf(box) {
  const value = (name) => box.querySelector(`[name="${name}"]`).value;
  const [kind, ...name] = value("holder").split(":");
  return {
    node: value("node"),
    devices: [...box.querySelectorAll("[data-devices] input:checked")].map((input) => input.value),
    ...(kind ? { [kind]: name.join(":") } : {}),
    starts_at: moment(value("starts_at")),
    ends_at: moment(value("ends_at")),
    reason: value("reason").trim(),
  };
}

function faultsClear(box) {
  for (const said of box.querySelectorAll("[data-finding]")) said.remove();
  for (const input of box.querySelectorAll(".is-invalid")) {
    input.classList.remove("is-invalid");
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-describedby");
  }
}

/** Each at its field; what has none stays for the foot of the dialog. */
function faultsShow(box, fields) {
  faultsClear(box);
  let first = null;
  for (const [field, texts] of Object.entries(fields)) {
    const place = box.querySelector(`[data-field="${CSS.escape(field === "group" ? "user" : field)}"]`);
    if (!place) continue;
    const id = `r-fault-${field}`;
    place.append(element("p", { class: "lf-error", "data-finding": field, id, role: "alert" }, texts.join(" ")));
    const input = place.querySelector("input:not([type=checkbox]), select");
    if (!input) continue;
    input.classList.add("is-invalid");
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-describedby", id);
    first = first || input;
  }
  if (first) first.focus();
}

/** Resolves to true once it is reserved. */
export function reserveAsk() {
  const box = formMake(pageData("form-data"));
  return dialog({
    title: text("reserve_title"),
    body: text("reserve_body"),
    ok: text("reserve_ok"),
    extra: box,
    wide: true,
    work: async () => {
      faultsClear(box);
      try {
        await api("reservations/", { method: "POST", body: bodyOf(box) });
      } catch (error) {
        faultsShow(box, error.fields || {});
        throw error;
      }
    },
  });
}
