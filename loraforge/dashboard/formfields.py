"""The fields of a module's first screen, as a template shows them: words, kind of control, default."""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language, gettext_lazy

from loraforge.swift.catalogue import Argument, Command, catalogue_load
from loraforge.swift.forms.modules import (
    Field,
    Group,
    Module,
    command_of,
    fields_of,
    first_screen,
    groups_load,
    modules_load,
    range_of,
)
from loraforge.swift.forms.visibility import conditions_within, deciding
from loraforge.swift.reserved import reserved_reason

FIELD_TEMPLATE = "dashboard/partials/_field.html"
# Groups that the page itself holds: every training has them, and nothing is asked for to show them.
BASE_GROUPS = ("data", "lora", "training", "more")
# Arguments that the form sets by other controls.
CONTROLLED = ("tuner_type", "system", "model_type", "template", "model", "dataset", "val_dataset")
# Models beside the base model: the platform brings them to the job, so they are fields of the draft.
MODEL_FIELDS = {
    "ref_model": ("ref_model", gettext_lazy("Reference model")),
    "teacher_model": ("teacher_model", gettext_lazy("Teacher model")),
    "reward_model": ("reward_models", gettext_lazy("Reward model")),
}
_KINDS = {"int": "number", "float": "number", "choice": "str", "list_str": "list"}


@dataclass(frozen=True, kw_only=True)
class ShownField:
    """A field in one language. kind: how static/js/form/values.js reads it. when: its conditions, as JSON."""

    argument: str
    label: str
    hint: str
    kind: str
    placeholder: str
    default: str
    options: list[tuple[str, str]]
    suggestions: tuple[str | int, ...]
    when: str
    limits: str


def shown_field(argument: Argument, field: Field, command: Command) -> ShownField:
    """The field in the language of the request."""
    language = get_language()
    default = _default(argument.default)
    conditions = conditions_within(argument.name, command.name)
    return ShownField(
        argument=argument.name,
        label=field.label.told(language),
        hint=field.hint.told(language) if field.hint else "",
        kind=_KINDS.get(argument.kind, argument.kind),
        placeholder=field.empty.told(language) if field.empty is not None else default,
        default=default,
        options=_options(argument, field),
        suggestions=catalogue_load().suggestions(argument) if argument.is_list else (),
        when=json.dumps(conditions, separators=(",", ":")) if conditions else "",
        limits=range_of(argument.name),
    )


def _options(argument: Argument, field: Field) -> list[tuple[str, str]]:
    if field.options:
        return list(field.options)
    if argument.kind == "bool":
        return [(word, word) for word in ("true", "false")]
    return [(str(choice), str(choice)) for choice in argument.choices or ()]


def _default(value: object) -> str:
    """SWIFT's default as it stands in an empty field."""
    if value is None or value in ([], {}):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.10g}"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def group_html(group: Group, command: Command) -> SafeString:
    """All fields of a group for a command."""
    shown = (shown_field(*pair, command) for pair in fields_of(group, command))
    return mark_safe("".join(render_to_string(FIELD_TEMPLATE, {"field": one}) for one in shown))  # noqa: S308 - of our own template


@lru_cache(maxsize=4)
def base_fields_html(_language: str | None) -> dict[str, SafeString]:
    """Group -> its fields, as a fine-tuning has them."""
    command = command_of(modules_load()["sft"])
    return {name: group_html(groups_load()[name], command) for name in BASE_GROUPS}


def own_arguments(module: Module) -> list[str]:
    """Arguments that are no part of "All arguments", since they have a place of their own."""
    groups = (groups_load()[name] for name in module.groups)
    beside = [name for group in groups for name in group.models]
    return [*first_screen(module), *CONTROLLED, *beside]


@dataclass(frozen=True)
class Counts:
    """How many arguments a command has: in all, with a field of their own, set by the platform alone."""

    total: int
    fields: int
    reserved: int

    @property
    def listed(self) -> int:
        """Those under "All arguments"."""
        return self.total - self.fields - self.reserved


def argument_counts(module: Module) -> Counts:
    """As static/js/form/arguments.js takes them apart."""
    command = command_of(module)
    reserved = {name for name in command.arguments if reserved_reason(name, command.name)}
    own = set(own_arguments(module)) & command.arguments.keys()
    return Counts(len(command.arguments), len(own - reserved), len(reserved))


def tuners() -> list[str]:
    """Training methods beside the three that have a button of their own."""
    known = catalogue_load().registries["tuner_type"]
    return [str(name) for name in known if name not in ("lora", "full", "dummy")]


def modules_plain() -> list[dict[str, Any]]:
    """What the page needs to know of each module before one is chosen."""
    return [
        {
            "id": module.id,
            "command": module.command,
            "fixed": module.fixed,
            "rows": module.rows,
            "source": module.source,
            "train": "training" in module.groups,
            "whole": set(module.groups) <= set(BASE_GROUPS),
        }
        for module in modules_load().values()
    ]


@dataclass(frozen=True, kw_only=True)
class ShownGroup:
    """A card of a module. models: (field of the draft, argument, label, conditions as JSON)."""

    id: str
    title: str
    html: SafeString
    models: list[tuple[str, str, str, str]]
    files: bool


def groups_shown(module: Module) -> list[ShownGroup]:
    """The cards that the page asks for once the module is chosen."""
    language = get_language()
    command = command_of(module)
    chosen = ((name, groups_load()[name]) for name in module.groups if name not in BASE_GROUPS)
    return [
        ShownGroup(
            id=name,
            title=group.title.told(language) if group.title else "",
            html=group_html(group, command),
            models=[_model_shown(argument, command) for argument in group.models],
            files=group.files,
        )
        for name, group in chosen
    ]


def _model_shown(argument: str, command: Command) -> tuple[str, str, str, str]:
    field, label = MODEL_FIELDS[argument]
    when = json.dumps(conditions_within(argument, command.name), separators=(",", ":"))
    return field, argument, str(label), when


def module_context(module: Module) -> dict[str, Any]:
    """For the part of the page that belongs to one module."""
    return {
        "module": module,
        "groups": groups_shown(module),
        "counts": argument_counts(module),
        "module_data": {"deciding": deciding(command_of(module))},
    }
