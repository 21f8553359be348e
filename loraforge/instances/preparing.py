"""The way of an attempt to its first training step: what took how long. No database of its own."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from loraforge.core.texts import storable
from loraforge.instances.models import Attempt
from nodeagent.contract.phases import StepName
from nodeagent.contract.reports import Step

DETAIL_LENGTH = 200
# A node's clock is checked when it joins; what lies outside of these years is no moment.
_MOMENT_MIN, _MOMENT_MAX = 946_684_800.0, 4_102_444_800.0  # 2000 to 2100
_BYTES_MAX = 2**60


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One part of the way. ended_at None = under way, or never ended; seconds None = not known then.

    done_bytes, total_bytes: of what is fetched, 0 = not known. revision: as the model hub names it.
    """

    name: str
    began_at: datetime
    ended_at: datetime | None
    seconds: float | None
    done_bytes: int = 0
    total_bytes: int = 0
    detail: str = ""
    revision: str = ""

    @property
    def percent(self) -> int | None:
        return min(100, self.done_bytes * 100 // self.total_bytes) if self.total_bytes else None


def steps_plain(steps: Iterable[Step]) -> dict[str, dict[str, Any]]:
    """What a node told of its steps as it is kept in `Attempt.steps`; what cannot be is left out."""
    return {
        step.name: {
            "began": step.began,
            "ended": step.ended if _MOMENT_MIN <= step.ended <= _MOMENT_MAX else None,
            "done_bytes": min(max(step.done_bytes, 0), _BYTES_MAX),
            "total_bytes": min(max(step.total_bytes, 0), _BYTES_MAX),
            "detail": storable(step.detail, length=DETAIL_LENGTH),
            "revision": storable(step.revision, length=DETAIL_LENGTH),
        }
        for step in steps
        if step.name in list(StepName) and _MOMENT_MIN <= step.began <= _MOMENT_MAX
    }


def stages_of(attempt: Attempt) -> list[Stage]:
    """The way so far, first to last; what has not begun is left out."""
    loaded = attempt.imported_at or attempt.running_at
    spans = [
        ("queued", attempt.queued_at, attempt.assigned_at),
        ("placed", attempt.assigned_at, attempt.preparing_at),
        *((name, None, None) for name in StepName),
        ("imports", attempt.running_at, attempt.imported_at or attempt.first_step_at),
        ("first_step", loaded if attempt.imported_at else None, attempt.first_step_at),
    ]
    stages = []
    for name, began, ended in spans:
        if name in attempt.steps:
            stages.append(_stage_of_step(attempt, name))
        elif began is not None:
            stages.append(_stage(attempt, name, began, ended))
    return stages


def _stage_of_step(attempt: Attempt, name: str) -> Stage:
    kept = attempt.steps[name]
    began = datetime.fromtimestamp(kept["began"], UTC)
    ended = datetime.fromtimestamp(kept["ended"], UTC) if kept["ended"] else None
    told = {key: kept[key] for key in ("done_bytes", "total_bytes", "detail")}
    told["revision"] = kept.get("revision", "")
    return _stage(attempt, name, began, ended, **told)


def _stage(
    attempt: Attempt, name: str, began: datetime, ended: datetime | None, **told: Any
) -> Stage:
    until = ended or attempt.ended_at
    # two clocks: the node's may be a little behind the control plane's
    seconds = None if until is None else max(0.0, (until - began).total_seconds())
    return Stage(name=name, began_at=began, ended_at=ended, seconds=seconds, **told)
