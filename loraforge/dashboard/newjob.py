"""The form of a new job: which arguments have a field of their own, what the page starts from.

The fields are data, not code: `loraforge.swift.forms` names them for each module. What fine-tuning needs is in
the page; the cards of another module are asked for when it is chosen (`formfields`).
"""

from functools import lru_cache
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.dashboard import selectors
from loraforge.dashboard.formfields import argument_counts, base_fields_html, modules_plain, tuners
from loraforge.dashboard.sources import NOTHING, Source, usable
from loraforge.datasets.models import Dataset
from loraforge.datasets.selectors import dataset_list
from loraforge.recipes.unsent import unsent_get
from loraforge.swift.catalogue import DEFAULT_VERSION
from loraforge.swift.forms.modules import command_of, modules_load
from loraforge.swift.forms.visibility import deciding
from loraforge.swift.models import models_load
from loraforge.training.modules import STARTED
from loraforge.training.options import role_limit_s

DATASETS_SHOWN = 200
DEFAULT_MODULE = "sft"


@lru_cache(maxsize=50)
def _parts_html(
    language: str | None, lost_after_s: int, save_every_s: int, role_limit_s: int
) -> dict[str, SafeString]:
    """The form as it stands in the page. Nothing but these changes it: made once, not for each page.

    Where a job would run is asked for after the page has loaded (static/js/form/compute.js).
    """
    module = modules_load()[DEFAULT_MODULE]
    quantising = command_of(module).arguments["quant_method"]
    context = {
        "fields": base_fields_html(language),
        "modules": [(one.id, one.title.told(language)) for one in modules_load().values()],
        "tuners": tuners(),
        "may_qlora": "bnb" in (quantising.choices or ()),
        "counts": argument_counts(module),
        "lost_after_s": lost_after_s,
        "save_every_minutes": f"{save_every_s / 60:g}",
        "role_limit_s": role_limit_s,
        "role_limit_hours": f"{role_limit_s / 3600:g}",
    }
    return {
        name: mark_safe(render_to_string(f"dashboard/partials/_new_{name}.html", context))  # noqa: S308 - of our own template
        for name in ("modules", "cards", "summary")
    }


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
    datasets = access.visible(user, dataset_list(user=user), action=Action.DOWNLOAD)
    nodes = selectors.node_rows(user=user)
    return {
        "source": source,
        "parts": _parts_html(
            get_language(), settings.NODE_LOST_S, settings.CHECKPOINT_EVERY_S, role_limit_s(user)
        ),
        "form_data": {
            "datasets": [_dataset_plain(row) for row in datasets[:DATASETS_SHOWN]],
            "nodes": [_node_plain(row) for row in nodes],
            "modules": modules_plain(),
            "deciding": deciding(command_of(modules_load()[DEFAULT_MODULE])),
            "startable": sorted(STARTED),
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
