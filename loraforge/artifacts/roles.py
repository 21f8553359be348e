"""What an output file is for, told by its path alone. Pure."""

import re
from enum import StrEnum

_CHECKPOINT = re.compile(r"(?:^|/)checkpoint-([0-9]{1,12})(?:/|$)")


class Role(StrEnum):
    """What a person looks for in a list of files."""

    ADAPTER = "adapter"  # the LoRA weights and what belongs to them
    WEIGHTS = "weights"  # whole models
    CHECKPOINT = "checkpoint"  # what only a resume needs: optimizer, schedule, random states
    LOG = "log"
    METRICS = "metrics"
    ARGUMENTS = "arguments"
    CURVE = "curve"  # drawn or recorded curves: images, tensorboard events
    OTHER = "other"


_BY_NAME = {
    "adapter_model.safetensors": Role.ADAPTER,
    "adapter_model.bin": Role.ADAPTER,
    "adapter_config.json": Role.ADAPTER,
    "additional_config.json": Role.ADAPTER,
    "console.log": Role.LOG,
    "events.jsonl": Role.LOG,
    "logging.jsonl": Role.METRICS,
    "args.json": Role.ARGUMENTS,
    "optimizer.pt": Role.CHECKPOINT,
    "scheduler.pt": Role.CHECKPOINT,
    "trainer_state.json": Role.CHECKPOINT,
    "training_args.bin": Role.CHECKPOINT,
}
_BY_PATTERN = (
    (re.compile(r"rng_state.*\.pth"), Role.CHECKPOINT),
    (re.compile(r"(?:model|pytorch_model).*\.(?:safetensors|bin)(?:\.index\.json)?"), Role.WEIGHTS),
    (re.compile(r"events\.out\.tfevents\..*"), Role.CURVE),
    (re.compile(r".*\.png"), Role.CURVE),
)


def role_of(path: str) -> Role:
    """The role of a file by its name."""
    name = path.rpartition("/")[2]
    if name in _BY_NAME:
        return _BY_NAME[name]
    return next((role for pattern, role in _BY_PATTERN if pattern.fullmatch(name)), Role.OTHER)


def checkpoint_of(path: str) -> tuple[str, int] | None:
    """The checkpoint folder that a file lies in, and its step; None outside of one."""
    found = _CHECKPOINT.search(path)
    if found is None:
        return None
    return path[: found.end(1)], int(found[1])
