"""Whether a checkpoint folder has all that a resume reads, told by the names of its files. Pure.

What transformers and ms-swift 4.6.0 read: the weights, the trainer's state, and unless only the weights
are taken over, optimizer, schedule and the random states of every process. A file that ends in the
middle (a trainer that was killed while it saved) counts as missing.
"""

import re
from collections.abc import Iterable

STATE_FILE = "trainer_state.json"
SCHEDULE_FILE = "scheduler.pt"
ADAPTER = ("adapter_config.json", ("adapter_model.safetensors", "adapter_model.bin"))
WHOLE_MODEL = ("model.safetensors", "pytorch_model.bin")

_SHARD = re.compile(r"(?:model|pytorch_model)-([0-9]{5})-of-([0-9]{5})\.(?:safetensors|bin)")
# torch's own file; FSDP's one file or folder
_OPTIMIZER = re.compile(r"optimizer\.(?:pt|bin)|optimizer_0/.+")
_DEEPSPEED = re.compile(r"global_step[0-9]+/.*optim_states\.pt")
# Only a full resume reads these; the optimizer is the largest of all.
_STATES_ONLY = re.compile(rf"{_OPTIMIZER.pattern}|{re.escape(SCHEDULE_FILE)}|global_step[0-9]+/.*")

# Beside the states: how the trainer was set up, and DeepSpeed's pointer and tool.
_TRAINER_ONLY = re.compile(
    rf"{re.escape(STATE_FILE)}|training_args\.bin|rng_state.*\.pth|latest|zero_to_fp32\.py|pytorch_model_fsdp_0/.*"
)


def missing_files(names: Iterable[str], *, processes: int, weights_only: bool = False) -> list[str]:
    """What a resume would not find among these names (relative to the folder); empty = it is complete.

    processes: data-parallel processes, each with random states of its own.
    """
    found = set(names)
    missing = _weights_missing(found)
    if STATE_FILE not in found:
        missing.append(STATE_FILE)
    if weights_only:
        return missing
    is_deepspeed = any(_DEEPSPEED.fullmatch(name) for name in found)
    if not is_deepspeed and not any(_OPTIMIZER.fullmatch(name) for name in found):
        missing.append("optimizer.pt")
    # DeepSpeed may keep the schedule among its own states
    if not is_deepspeed and SCHEDULE_FILE not in found:
        missing.append(SCHEDULE_FILE)
    return missing + [name for name in _random_states(processes) if name not in found]


def is_needed(name: str, *, weights_only: bool) -> bool:
    """Whether a resume wants this file of a checkpoint folder."""
    return not (weights_only and _STATES_ONLY.fullmatch(name))


def is_for_inference(name: str) -> bool:
    """Whether a model is loaded by this file of a checkpoint folder; the rest only a trainer reads."""
    return not (_STATES_ONLY.fullmatch(name) or _TRAINER_ONLY.fullmatch(name))


def _random_states(processes: int) -> list[str]:
    if processes <= 1:
        return ["rng_state.pth"]
    return [f"rng_state_{rank}.pth" for rank in range(processes)]


def _weights_missing(found: set[str]) -> list[str]:
    """An adapter (also in a folder of its own name, as SWIFT's own tuners write it), or a whole model."""
    config, adapters = ADAPTER
    for name in found:
        folder, _slash, last = name.rpartition("/")
        beside = f"{folder}/{config}" if folder else config
        if last in adapters:
            return [] if beside in found else [beside]
    if config in found:
        return [adapters[0]]
    missing = [] if "config.json" in found else ["config.json"]
    if any(name in found for name in WHOLE_MODEL):
        return missing
    return missing + _shards_missing(found)


def _shards_missing(found: set[str]) -> list[str]:
    shards = [shard for name in found if (shard := _SHARD.fullmatch(name))]
    if not shards:
        return [WHOLE_MODEL[0]]
    sample = shards[0][0]
    wanted = int(shards[0][2])
    if wanted > len(shards):
        return [f"{sample.partition('-')[0]}-*-of-{shards[0][2]}"]
    index = f"{sample.partition('-')[0]}.{sample.rpartition('.')[2]}.index.json"
    return [] if index in found else [index]
