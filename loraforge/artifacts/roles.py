"""What an output file is for, told by its path alone. Pure."""

import re
from enum import StrEnum

_CHECKPOINT = re.compile(r"(?:^|/)checkpoint-([0-9]{1,12})(?:/|$)")
# Where `swift.jobs` has commands leave what they make; the group is a folder that is one result.
_RESULT = re.compile(
    r"output/(?:(merged|quantized|cached_dataset|ollama|evaluation)/"
    r"|(?:result|samples|eval_result)\.jsonl$)"
)


class Role(StrEnum):
    """What a person looks for in a list of files."""

    ADAPTER = "adapter"  # the LoRA weights and what belongs to them
    WEIGHTS = "weights"  # whole models
    CHECKPOINT = "checkpoint"  # what only a resume needs: optimizer, schedule, random states
    LOG = "log"
    METRICS = "metrics"
    ARGUMENTS = "arguments"
    RESULT = "result"  # what a job that does not train was for: answers, scores, an exported model
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
    """The role of a file by its name, or by the folder of results that it lies in."""
    if _RESULT.match(path) and not path.endswith((".tmp", ".resume")):
        return Role.RESULT
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


def result_of(path: str) -> str | None:
    """The folder of one result that a file belongs to, or the file itself; None where it is no result."""
    found = _RESULT.match(path)
    if found is None:
        return None
    return f"output/{found[1]}" if found[1] else path
