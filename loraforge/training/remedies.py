"""What a new job would change about one that failed, where a change of arguments is all it takes. Pure."""

from collections.abc import Mapping

from loraforge.swift.catalogue import Value
from loraforge.training.faults import GPU_OUT_OF_MEMORY
from loraforge.training.policy import ACCUMULATION, BATCH, Batch

CHECKPOINTS_KEPT = 2
LENGTH_LEAST = 256  # tokens; less trains on next to nothing


def remedy_of(reason: str, *, arguments: Mapping[str, Value], batch: Batch) -> dict[str, Value]:
    """The arguments to change, with their new values; empty where none is known to help.

    arguments: as the job had them. batch: what a step of it took.
    """
    if reason == GPU_OUT_OF_MEMORY:
        return _less_memory(arguments, batch)
    change = _CHANGES.get(reason, {})
    return {name: value for name, value in change.items() if arguments.get(name) != value}


_CHANGES: dict[str, dict[str, Value]] = {
    "user:dataset_too_long": {"truncation_strategy": "right"},
    "user:disk_quota": {"save_total_limit": CHECKPOINTS_KEPT},
    "platform:shared_memory": {"dataloader_num_workers": 0},
    "node:no_network": {"report_to": ["none"]},
}


def _less_memory(arguments: Mapping[str, Value], batch: Batch) -> dict[str, Value]:
    """Half the batch with the same effective one; of one row a time, shorter rows."""
    smaller = batch.halved()
    if smaller is not None:
        return {BATCH: smaller.rows, ACCUMULATION: smaller.accumulation}
    length = arguments.get("max_length")
    if isinstance(length, int) and length // 2 >= LENGTH_LEAST:
        return {"max_length": length // 2}
    return {}
