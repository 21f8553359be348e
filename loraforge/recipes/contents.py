"""What a recipe says: a plain draft of a job, with what belongs to one job alone left out.

This floor knows no job. It judges what it must know (command, model, arguments) and keeps everything else as it
was given: who makes a job of it judges all of it again.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from django.utils.translation import gettext as _

from loraforge.core.errors import Invalid
from loraforge.core.texts import has_nul
from loraforge.swift.catalogue import DEFAULT_VERSION, catalogue_load
from loraforge.swift.forms.environment import environment_check
from loraforge.swift.problems import Problem
from loraforge.swift.rules import Checked, arguments_check

CONTENT_MAX_BYTES = 256 * 1024
ARGUMENTS_MAX = 1000
MODEL_MAX = 500
DATASETS_MAX = 100
ID_MAX = 2**63 - 1
# Of one job: its name and words about it, the devices that were free that day, whose weights it began with.
OF_ONE_JOB = frozenset(
    {
        *("name", "notes", "tags", "parent", "start", "priority", "node", "gpu_uuids"),
        *("weights_from", "source"),
    }
)

# What pages show as a word, or look up by one.
TEXTS = ("model_hub", "model_type", "template", "ref_model", "teacher_model", "on_node_lost")
# Ids of what is wrong with an argument by itself, not only beside others.
OF_ONE_ARGUMENT = tuple(
    f"swift:{word}" for word in ("argument_", "value_", "negative_value", "dataset_path")
)


def content_made(draft: Mapping[str, object]) -> dict[str, Any]:
    """The draft as a recipe keeps it, its arguments in SWIFT's types. Raises Invalid (`recipes:invalid`)."""
    kept: dict[str, Any] = {name: one for name, one in draft.items() if name not in OF_ONE_JOB}
    bytes_require(kept)
    faults: dict[str, list[str]] = {}
    command, given = kept.setdefault("command", "sft"), kept.setdefault("arguments", {})
    model = kept.setdefault("model", "")
    if not isinstance(command, str) or command not in catalogue_load().commands:
        faults["command"] = [_("SWIFT has no such command.")]
    if not isinstance(model, str) or len(model) > MODEL_MAX or not model.isprintable():
        faults["model"] = [
            _("A model is a hub id or a folder of at most %(limit)s characters.")
            % {"limit": MODEL_MAX}
        ]
    if not isinstance(given, dict) or len(given) > ARGUMENTS_MAX:
        faults["arguments"] = [_("At most %(limit)s arguments.") % {"limit": ARGUMENTS_MAX}]
    elif "command" not in faults:
        checked = arguments_check(command, given, version=DEFAULT_VERSION)
        faults.update(_refused(checked))
        kept["arguments"] = dict(checked.arguments)
    faults.update(_lists_refused(kept))
    if faults:
        text = _("This is no recipe yet. Correct the marked fields.")
        raise Invalid("recipes:invalid", text, fields=faults)
    return kept


def _lists_refused(kept: Mapping[str, Any]) -> dict[str, list[str]]:
    """What pages look up or count must be what it says."""
    faults: dict[str, list[str]] = {}
    for name in ("datasets", "validation_datasets", "reward_files"):
        ids = kept.get(name) or []
        if not isinstance(ids, list) or len(ids) > DATASETS_MAX or not all(map(_is_id, ids)):
            text = _("At most %(limit)s datasets, each by its number.")
            faults[name] = [text % {"limit": DATASETS_MAX}]
    for name in ("gpus", "processes"):
        if not _is_id(kept.get(name) or 1):
            faults[name] = [_("A whole number from 1.")]
    for name in TEXTS:
        if not isinstance(kept.get(name) or "", str):
            faults[name] = [_("This must be a text.")]
    models = kept.get("reward_models") or []
    if not isinstance(models, list) or not all(isinstance(one, str) for one in models):
        faults["reward_models"] = [_("Each of these must be a text.")]
    return faults | _environment_refused(kept.get("environment") or {})


def _environment_refused(given: object) -> dict[str, list[str]]:
    """A token that was typed there would be shown to everybody who has the recipe."""
    if not isinstance(given, dict):
        return {"environment": [_("Variables, each with its value.")]}
    return _told(environment_check(given)[1], prefix="environment.")


def _is_id(value: object) -> bool:
    return type(value) is int and 1 <= value <= ID_MAX


def bytes_require(draft: Mapping[str, object]) -> None:
    """Raises Invalid (`recipes:too_large`, `recipes:zero_byte`) for what is not stored."""
    try:
        body = msgspec.json.encode(draft)
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid("recipes:invalid", _("This is no plain JSON.")) from error
    if len(body) > CONTENT_MAX_BYTES:
        text = _("Its settings are longer than %(limit)s KiB. Shorten some of them.")
        raise Invalid("recipes:too_large", text % {"limit": CONTENT_MAX_BYTES // 1024})
    if b"\\u0000" in body and has_nul(draft):  # bodies are not deeper than `core.parsers` lets them
        raise Invalid("recipes:zero_byte", _("Its settings hold a zero byte. Remove it."))


def _refused(checked: Checked) -> dict[str, list[str]]:
    """Arguments that cannot stay; what is wrong only together is said by the form."""
    own = (one for one in checked.errors if one.id.startswith(OF_ONE_ARGUMENT))
    return _told(own, prefix="arguments.")


def _told(problems: Iterable[Problem], *, prefix: str) -> dict[str, list[str]]:
    """By field, each with its remedy."""
    faults: dict[str, list[str]] = {}
    for one in problems:
        parts = [_(part) % one.params for part in (one.message, one.remedy) if part]
        faults.setdefault(f"{prefix}{one.field}", []).append(" ".join(parts))
    return faults
