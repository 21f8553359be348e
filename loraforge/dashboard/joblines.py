"""A job as a line of a list: only what is shown, already in words. Equal lines look the same."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from loraforge.dashboard.explain import work_label
from loraforge.instances.models import Instance, progress_of
from loraforge.instances.states import ACTIVE, State
from loraforge.scheduling.reasons import reason_text, start_text
from loraforge.scheduling.selectors import position_in

# Lookups from the instance, in the order of `_line`.
COLUMNS = (
    "pk", "name", "owner_id", "owner__username", "state", "saved_step", "job__model", "job__command",
    "job__arguments", "attempt", "step", "max_steps", "eta_s", "wait_reason", "wait_detail",
    "node__name", "created_at", "ended_at",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class JobLine:
    """work: what it does, in a word or two. progress: whole percent. node: name, empty for none.

    position: place in the queue, None = does not wait.
    """

    pk: int
    name: str
    owner_id: int
    owner: str
    state: str
    saved_step: int | None
    model: str
    work: str
    attempt: int
    progress: int
    eta_s: int | None
    node: str
    created_at: datetime
    ended_at: datetime | None
    is_active: bool
    position: int | None
    wait_text: str
    start_text: str


def job_lines(rows: QuerySet[Instance]) -> list[JobLine]:
    """One query."""
    return lines_of(rows.values_list(*COLUMNS))


def lines_of(rows: Iterable[tuple[Any, ...]]) -> list[JobLine]:
    """The lines of a `values_list(*COLUMNS)`."""
    return [_line(dict(zip(COLUMNS, values, strict=True))) for values in rows]


def _line(row: dict[str, Any]) -> JobLine:
    state, reason = row["state"], row["wait_reason"]
    waits = state == State.QUEUED and reason
    return JobLine(
        pk=row["pk"],
        name=row["name"],
        owner_id=row["owner_id"],
        owner=row["owner__username"],
        state=state,
        saved_step=row["saved_step"],
        model=row["job__model"],
        work=work_label(row["job__command"], row["job__arguments"]),
        attempt=row["attempt"],
        progress=progress_of(state, step=row["step"], max_steps=row["max_steps"]),
        eta_s=row["eta_s"],
        node=row["node__name"] or "",
        created_at=row["created_at"],
        ended_at=row["ended_at"],
        is_active=state in ACTIVE,
        position=position_in(state=state, detail=row["wait_detail"]),
        wait_text=reason_text(reason=reason, detail=row["wait_detail"]) if waits else "",
        start_text=start_text(detail=row["wait_detail"]) if waits else "",
    )
