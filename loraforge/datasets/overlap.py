"""Whether rows to validate with stand among those to train on: asked of the indexes alone, in bounded time."""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from django.core.files.storage import default_storage

from loraforge.datasets.models import Dataset
from loraforge.datasets.rowindex import Index, IndexBroken, rows_shared

PAIRS_MAX = 12  # a pair that was never asked for takes tens of milliseconds


class Overlap(NamedTuple):
    """Rows of ``validation`` that stand in ``training`` too."""

    training: Dataset
    validation: Dataset
    rows: int
    is_estimate: bool


def overlaps(*, training: Iterable[Dataset], validation: Iterable[Dataset]) -> list[Overlap]:
    """Each pair that shares rows, of the first PAIRS_MAX; datasets without an index are left out."""
    pairs = [
        (one, other)
        for other in validation
        for one in training
        if one.index_name and other.index_name
    ]
    found = []
    for one, other in pairs[:PAIRS_MAX]:
        rows, is_estimate = _shared(_key(other), _key(one))
        if rows:
            found.append(Overlap(one, other, rows, is_estimate))
    return found


def _key(dataset: Dataset) -> tuple[str, str]:
    """The index, and what it was made of: other columns make other hashes."""
    return dataset.index_name, f"{dataset.sha256}{sorted(dataset.columns.items())}"


@lru_cache(maxsize=512)
def _shared(few: tuple[str, str], many: tuple[str, str]) -> tuple[int, bool]:
    try:
        with (
            default_storage.open(few[0], "rb") as one,
            default_storage.open(many[0], "rb") as other,
        ):
            return rows_shared(Index(one), Index(other))
    except (OSError, IndexBroken):
        return 0, False  # it was deleted meanwhile: nothing to warn of
