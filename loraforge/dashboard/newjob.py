"""The form of a new job: which arguments have a field of their own, what the page starts from.

The fields are data, not code: each names an argument of SWIFT's catalogue, which gives its kind,
choices and default. What is not named here stands under "All arguments".
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.utils.functional import Promise
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language, gettext_lazy

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.dashboard import selectors
from loraforge.dashboard.sources import NOTHING, Source, usable
from loraforge.datasets.models import Dataset
from loraforge.datasets.selectors import dataset_list
from loraforge.recipes.unsent import unsent_get
from loraforge.swift.catalogue import DEFAULT_VERSION, Command, catalogue_load
from loraforge.swift.models import models_load
from loraforge.swift.reserved import reserved_reason
from loraforge.training.options import role_limit_s

DATASETS_SHOWN = 200
FIELD_TEMPLATE = "dashboard/partials/_field.html"


@dataclass(frozen=True)
class Field:
    """An argument with a field of its own. placeholder: what SWIFT takes when it is left empty."""

    argument: str
    label: Promise
    hint: Promise | str = ""
    placeholder: Promise | str = ""
    widget: str = "number"
    step: str = "any"
    minimum: str = ""
    maximum: str = ""
    options: tuple[tuple[str, Promise | str], ...] = ()

    @property
    def flag(self) -> str:
        """SWIFT's own name, shown in small type beside the label."""
        return f"--{self.argument}"


PRECISIONS = (
    ("", gettext_lazy("Automatic")),
    ("bfloat16", "bf16"),
    ("float16", "fp16"),
    ("float32", "fp32"),
)

DATA_FIELDS = (
    Field(
        "split_dataset_ratio",
        gettext_lazy("Validation split"),
        gettext_lazy("Part of the rows that is kept for validation"),
        "0",
        step="0.01",
        minimum="0",
        maximum="0.99",
    ),
    Field(
        "max_length",
        gettext_lazy("Max length"),
        gettext_lazy("In tokens; over-length rows are left out. Empty = what the model allows"),
        step="1",
        minimum="1",
    ),
)
TRAINING_FIELDS = (
    Field(
        "learning_rate",
        gettext_lazy("Learning rate"),
        gettext_lazy("Lower it when the loss jumps; for Full about a tenth of LoRA's"),
        minimum="0",
    ),
    Field(
        "num_train_epochs",
        gettext_lazy("Epochs"),
        gettext_lazy("How often all rows are gone through"),
        "3",
        minimum="0",
    ),
    Field(
        "per_device_train_batch_size",
        gettext_lazy("Batch size per GPU"),
        gettext_lazy("Halve it when GPU memory runs out"),
        "1",
        step="1",
        minimum="1",
    ),
    Field(
        "gradient_accumulation_steps",
        gettext_lazy("Gradient accumulation steps"),
        gettext_lazy("Larger effective batch without more memory"),
        step="1",
        minimum="1",
    ),
)
LORA_FIELDS = (
    Field(
        "lora_rank",
        gettext_lazy("LoRA rank"),
        gettext_lazy("Higher: more capacity, more memory"),
        "8",
        step="1",
        minimum="1",
    ),
    Field(
        "lora_alpha",
        gettext_lazy("LoRA alpha"),
        gettext_lazy("Weight of what was learned, as alpha / rank"),
        "32",
        minimum="0",
    ),
    Field(
        "target_modules",
        gettext_lazy("Target modules"),
        gettext_lazy("Names, separated by spaces"),
        "all-linear",
        widget="list",
    ),
)
MORE_FIELDS = (
    Field("torch_dtype", gettext_lazy("Precision"), widget="select", options=PRECISIONS),
    Field("seed", gettext_lazy("Seed"), placeholder=gettext_lazy("Drawn, then kept"), step="1"),
    Field(
        "warmup_ratio",
        gettext_lazy("Warm-up"),
        gettext_lazy("Part of all steps"),
        "0",
        step="0.01",
        minimum="0",
        maximum="1",
    ),
    Field(
        "logging_steps",
        gettext_lazy("Log every"),
        gettext_lazy("In steps"),
        "5",
        step="1",
        minimum="1",
    ),
    Field(
        "eval_steps",
        gettext_lazy("Validate every"),
        gettext_lazy("In steps; empty = at every saved step"),
        step="1",
        minimum="1",
    ),
    Field(
        "save_steps",
        gettext_lazy("Save a checkpoint every"),
        gettext_lazy("In steps"),
        "500",
        step="1",
        minimum="1",
    ),
)
FIELDS = {
    "data": DATA_FIELDS,
    "training": TRAINING_FIELDS,
    "lora": LORA_FIELDS,
    "more": MORE_FIELDS,
}
# Arguments that the form sets by other controls.
CONTROLLED = ("tuner_type", "quant_method", "quant_bits", "system", "model_type", "template")


def own_arguments() -> list[str]:
    """Arguments that are no part of "All arguments", since they have a place of their own."""
    named = [field.argument for fields in FIELDS.values() for field in fields]
    return [*named, *CONTROLLED, "model", "dataset", "val_dataset"]


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


def argument_counts(command: Command) -> Counts:
    """As static/js/form/arguments.js takes them apart."""
    reserved = {name for name in command.arguments if reserved_reason(name)}
    own = set(own_arguments()) & command.arguments.keys()
    return Counts(len(command.arguments), len(own - reserved), len(reserved))


@lru_cache(maxsize=50)
def _parts_html(
    _language: str | None, lost_after_s: int, save_every_s: int, role_limit_s: int
) -> dict[str, SafeString]:
    """The form as it stands in the page. Nothing but these changes it: made once, not for each page.

    Where a job would run is asked for after the page has loaded (static/js/form/compute.js).
    """
    command = catalogue_load(DEFAULT_VERSION).commands["sft"]
    context = {
        "fields": {name: _fields_html(fields) for name, fields in FIELDS.items()},
        "may_qlora": "bnb" in (command.arguments["quant_method"].choices or ()),
        "counts": argument_counts(command),
        "lost_after_s": lost_after_s,
        "save_every_minutes": f"{save_every_s / 60:g}",
        "role_limit_s": role_limit_s,
        "role_limit_hours": f"{role_limit_s / 3600:g}",
    }
    return {
        name: mark_safe(render_to_string(f"dashboard/partials/_new_{name}.html", context))  # noqa: S308 - of our own template
        for name in ("cards", "summary")
    }


def _fields_html(fields: tuple[Field, ...]) -> SafeString:
    return mark_safe("".join(render_to_string(FIELD_TEMPLATE, {"field": one}) for one in fields))  # noqa: S308 - of our own template


def _dataset_plain(dataset: Dataset) -> dict[str, Any]:
    return {
        "id": dataset.pk,
        "name": dataset.name,
        "kind": dataset.kind,
        "state": dataset.state,
        "rows": dataset.rows,
        "format": dataset.row_format,
    }


def _node_plain(row: selectors.NodeRow) -> dict[str, Any]:
    return {
        "name": row.node.name,
        "state": row.node.get_state_display(),
        "usable": row.usable,
        "runtime": row.node.runtime,
        "devices": [
            {
                "uuid": slot.device.uuid,
                "kind": slot.device.kind,
                "index": slot.device.index,
                "name": slot.device.label,
                "memory_bytes": slot.device.memory_bytes,
                "busy": slot.holder is not None,
            }
            for slot in row.slots
        ],
    }


def _unsent_plain(user: User, source: Source | None) -> dict[str, Any]:
    """The form as its owner left it; version 0 when there is none."""
    key = source.key if source else NOTHING
    kept = unsent_get(user=user, source=key)
    if kept is None:
        return {"source": key, "version": 0}
    draft = usable(dict(kept.draft), user=user)
    return {
        "source": key,
        "version": kept.version,
        "tab": kept.tab,
        "saved_at": kept.saved_at.isoformat(),
        "draft": draft,
    }


def form_context(*, user: User, source: Source | None) -> dict[str, Any]:
    """What the template and the JavaScript of the page need."""
    datasets = [
        row
        for row in dataset_list(user=user)[:DATASETS_SHOWN]
        if access.allowed(user, Action.DOWNLOAD, row)
    ]
    nodes = selectors.node_rows(user=user)
    return {
        "source": source,
        "parts": _parts_html(
            get_language(), settings.NODE_LOST_S, settings.CHECKPOINT_EVERY_S, role_limit_s(user)
        ),
        "form_data": {
            "datasets": [_dataset_plain(row) for row in datasets],
            "nodes": [_node_plain(row) for row in nodes],
            "own_arguments": own_arguments(),
            "source": source.plain(user) if source else None,
            "unsent": _unsent_plain(user, source),
        },
    }


def names_context() -> dict[str, Any]:
    """What is offered for model type and chat template: hundreds of names, asked for when somebody gets there."""
    registry = models_load(DEFAULT_VERSION)
    return {
        "model_types": sorted(registry.model_types),
        "chat_templates": sorted(registry.templates),
    }
