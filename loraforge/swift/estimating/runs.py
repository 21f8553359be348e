"""How many steps a training has, and what its checkpoints take on the disk."""

import math

import msgspec

ADAPTER_BYTES = 4  # adapters are written in float32, and so are the optimizer's two moments of them
STEPS_MOST = 2**53  # more is nobody's plan, and no number of JavaScript's
TOKENIZER_BYTES = 16 * 10**6  # tokenizer and settings in each checkpoint


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the steps. rows: of all training data, None = not known beforehand. split: share of rows
    that validate. max_steps: over epochs when positive. packs: rows are joined, nobody knows how many to one.
    """

    rows: int | None
    split: float = 0
    batch: int = 1
    accumulation: int = 1
    world: int = 1
    epochs: float = 3
    max_steps: int = -1
    packs: bool = False


def steps_of(schedule: Schedule) -> int | None:
    """Optimizer steps of the whole run, None where they are not known."""
    if schedule.max_steps > 0:
        return schedule.max_steps
    if not schedule.rows or schedule.packs:
        return None
    rows = schedule.rows - math.floor(schedule.rows * schedule.split)
    batches = math.ceil(rows / (schedule.batch * schedule.world))
    steps = max(1, math.ceil(batches / schedule.accumulation))
    whole = steps * schedule.epochs
    return math.ceil(whole) if whole < STEPS_MOST else None


def checkpoint_bytes(*, trained: int, is_full: bool, width: int, model_only: bool) -> int:
    """Of one checkpoint. trained: parameters that are; width: bytes of one in full fine-tuning."""
    each = width if is_full else ADAPTER_BYTES
    return trained * each * (1 if model_only else 3) + TOKENIZER_BYTES


def checkpoints_kept(
    *, steps: int | None, every: float, strategy: str, epochs: float, limit: int | None
) -> int | None:
    """How many lie there at the end, None where nobody knows. every: steps, or a share of all when below 1."""
    if strategy == "no":
        return 0
    if strategy == "epoch":
        made = math.ceil(min(epochs, STEPS_MOST))
    elif strategy == "best":
        made = 1
    elif steps is None:
        return limit
    else:
        apart = max(1, math.ceil(steps * every) if 0 < every < 1 else int(every))
        made = math.ceil(steps / apart)  # and one at the end
    return min(made, limit + 1) if limit else made  # the best one is kept beyond the limit
