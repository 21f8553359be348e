"""What a new job would change about one that failed."""

from typing import Any

import pytest

from loraforge.swift.catalogue import DEFAULT_VERSION, catalogue_load
from loraforge.training.faults import FAULTS
from loraforge.training.policy import Batch
from loraforge.training.remedies import _CHANGES, remedy_of

OOM = "user:gpu_out_of_memory"


@pytest.mark.parametrize(
    ("reason", "arguments", "batch", "wanted"),
    [
        (OOM, {}, Batch(8, 2), {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}),
        (OOM, {}, Batch(3, 4), {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 12}),
        (OOM, {"max_length": 4096}, Batch(1, 16), {"max_length": 2048}),
        (OOM, {"max_length": 300}, Batch(1, 16), {}),
        (OOM, {}, Batch(1, 16), {}),
        ("user:disk_quota", {"save_total_limit": 9}, Batch(1, 1), {"save_total_limit": 2}),
        ("user:disk_quota", {"save_total_limit": 2}, Batch(1, 1), {}),
        ("node:no_network", {"report_to": ["wandb"]}, Batch(1, 1), {"report_to": ["none"]}),
        ("code:exit", {}, Batch(8, 2), {}),
        ("", {}, Batch(8, 2), {}),
    ],
)  # fmt: skip
def test_what_would_change(
    reason: str, arguments: dict[str, Any], batch: Batch, wanted: dict[str, Any]
) -> None:
    assert remedy_of(reason, arguments=arguments, batch=batch) == wanted


def test_reasons_and_arguments_exist() -> None:
    command = catalogue_load(DEFAULT_VERSION).commands["sft"]
    for reason, change in _CHANGES.items():
        assert reason in FAULTS
        assert all(command.argument(name) is not None for name in change)
