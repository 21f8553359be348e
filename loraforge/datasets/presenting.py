"""What the dataset pages show of rows, columns and counts, as plain data for the templates."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from loraforge.datasets import columns, fitness
from loraforge.datasets.models import Dataset
from loraforge.datasets.statistics import TOKEN_CLASSES

COLUMNS_SHOWN = 40
_USES = {
    "pairs": gettext_lazy("DPO and the like"),
    "labels": gettext_lazy("KTO, classification"),
    "similar": gettext_lazy("Embedding, reranking"),
    "text": gettext_lazy("Pre-training"),
    "answers": gettext_lazy("Fine-tuning"),
    "prompts": gettext_lazy("GRPO, PPO, inference"),
}
_MEDIA = {
    "images": gettext_lazy("Images"),
    "videos": gettext_lazy("Videos"),
    "audios": gettext_lazy("Audio"),
}


def turns_of(row: Any) -> list[dict[str, str]]:
    """A row of the format "messages" as turns; empty for all other rows."""
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list):
        return []
    return [
        {"role": str(turn.get("role", "")), "content": str(turn.get("content", ""))}
        for turn in messages
        if isinstance(turn, dict)
    ]


def uses_of(dataset: Dataset) -> list[str]:
    """What the rows are good for, and what they bring, in words."""
    if dataset.kind != Dataset.Kind.UPLOADED or not dataset.row_format:
        return []
    found = fitness.uses(row_format=dataset.row_format, traits=dataset.traits)
    media = [str(word) for name, word in _MEDIA.items() if name in dataset.traits]
    return [*(str(_USES[one]) for one in found), *media]


def columns_of(dataset: Dataset) -> list[dict[str, Any]]:
    """Each column, what it is now or probably, and an example of what stands in it."""
    sample = dataset.preview[0] if dataset.preview else {}
    sample = sample if isinstance(sample, Mapping) else {}
    given = {name.lower(): target for name, target in dataset.columns.items()}
    guessed = {} if given or dataset.row_format else columns.guess(dataset.column_names, sample)
    return [
        {
            "name": name,
            "target": given.get(name.lower(), guessed.get(name, "")),
            "example": str(sample.get(name, ""))[:80],
        }
        for name in dataset.column_names[:COLUMNS_SHOWN]
    ]


def statistics_of(dataset: Dataset) -> dict[str, Any] | None:
    """Counts and the classes of lengths with their share; None of datasets that were never counted."""
    plain = dataset.statistics
    if not plain or not dataset.rows:
        return None
    most = max(plain["tokens"], default=0) or 1
    ends = [*(f"≤ {end:,}".replace(",", "\u202f") for end in TOKEN_CLASSES), _("more")]
    classes = [
        {"label": label, "rows": rows, "share": rows / most}
        for label, rows in zip(ends, plain["tokens"], strict=False)
        if rows
    ]
    return {
        "classes": classes,
        "tokens_mean": round(plain["tokens_sum"] / dataset.rows),
        "tokens_most": plain["tokens_most"],
        "tokens_sum": plain["tokens_sum"],
        "turns": _mean_turns(plain["turns"]),
        "roles": list(plain["roles"].items()),
        "empty_answers": plain["empty_answers"],
        "duplicates": plain["duplicates"],
        "is_estimate": plain["is_estimate"],
    }


def _mean_turns(turns: Mapping[str, int]) -> str:
    rows = sum(turns.values()) or 1
    return f"{sum(int(number) * count for number, count in turns.items()) / rows:.1f}"
