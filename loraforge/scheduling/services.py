"""Placing what waits."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import IntegrityError, connection, transaction

from loraforge.core import live, outbox
from loraforge.core.columns import planned_cursor
from loraforge.core.errors import Conflict
from loraforge.instances.frames import IN_FRAME, status_frame
from loraforge.instances.models import Instance
from loraforge.instances.services import instance_assign
from loraforge.instances.states import State
from loraforge.nodes.models import Node
from loraforge.scheduling import selectors
from loraforge.scheduling.facts import Decision, Waits
from loraforge.scheduling.forecast import Expected, forecast
from loraforge.scheduling.policy import decide
from loraforge.scheduling.queueing import queue_lock
from loraforge.scheduling.waiting import Waiting, waiting_list

# An estimate is written anew when it has moved by more than this, or by a tenth of the time until then.
MOVED_S = 60


def instances_place() -> int:
    """Give devices to whoever may go now, note why the others wait; returns how many go.

    One at a time over all workers: `queue_lock`. Who goes is committed before anything is told to those who
    wait: a thousand of them take longer. Reasons that another worker noted in between are written over by
    older ones until the next hint, 5 s later at the latest.
    """
    if not Instance.objects.filter(state=State.QUEUED, deleted_at=None).exists():
        return 0  # most hints come for nothing; they take no lock
    with transaction.atomic():
        queue_lock()
        waiting = {row.pk: row for row in waiting_list()}
        situation = selectors.situation_now(waiting.values())
        decision = decide(situation)
        started = _assign(decision)
    expected = forecast(situation=situation, decision=decision)
    with transaction.atomic():
        queue_lock()  # two that write the same rows in another order would wait for each other
        _reasons_store(waiting=waiting, waits=decision.waits, expected=expected, now=situation.now)
    return started


def _assign(decision: Decision) -> int:
    nodes = Node.objects.in_bulk({placed.node for placed in decision.placed})
    instances = Instance.objects.in_bulk([placed.id for placed in decision.placed])
    started = 0
    for placed in decision.placed:
        try:
            with transaction.atomic():
                instance_assign(
                    instance=instances[placed.id], node=nodes[placed.node], devices=placed.devices
                )
        except (IntegrityError, Conflict):
            continue  # withdrawn, or the device taken, since it was read; the next hint looks again
        started += 1
    return started


def _reasons_store(
    *,
    waiting: Mapping[int, Waiting],
    waits: Sequence[Waits],
    expected: Mapping[int, Expected],
    now: datetime,
) -> None:
    """Note the reasons that are new and tell them; every place in the queue moves when one job starts.

    Rows that were withdrawn meanwhile are left as they are: those that are changed here stay locked until
    the commit.
    """
    changed = {}
    for wait in waits:
        row = waiting[wait.id]
        start = _start_told(row.wait_detail, expected.get(wait.id), now)
        told = (str(wait.reason), {**wait.detail, **start})
        if (row.wait_reason, row.wait_detail) != told:
            changed[row.pk] = told
    if not changed:
        return
    _reasons_write((pk, *told) for pk, told in changed.items())
    queued = Instance.objects.filter(state=State.QUEUED, pk__in=changed)
    outbox.frames_enqueue(
        (live.topic_job(row.pk), status_frame(row)) for row in queued.only(*IN_FRAME)
    )


def _reasons_write(rows: Iterable[tuple[int, str, dict[str, Any]]]) -> None:
    """Each its own UPDATE, planned once: a thousand cases of a single one take Django a second to write."""
    detail: Any = Instance._meta.get_field("wait_detail")
    sql = (
        f"UPDATE {Instance._meta.db_table} SET wait_reason = %s, wait_detail = %s"  # noqa: S608 - a constant
        " WHERE id = %s AND state = %s"
    )
    queued = str(State.QUEUED)
    with planned_cursor() as cursor:
        cursor.executemany(
            sql,
            [
                (reason, detail.get_db_prep_save(values, connection), pk, queued)
                for pk, reason, values in rows
            ],
        )


def _start_told(
    before: Mapping[str, Any], expected: Expected | None, now: datetime
) -> dict[str, Any]:
    """The estimated start as it is stored: the old one as long as it is about right. Nothing if it is unknown."""
    if expected is None:
        return {}
    known = before.get("expected_at")
    if isinstance(known, str) and before.get("expected_latest") == expected.is_latest:
        moved_s = abs((datetime.fromisoformat(known) - expected.at).total_seconds())
        if moved_s <= max(MOVED_S, (expected.at - now).total_seconds() / 10):
            return {"expected_at": known, "expected_latest": expected.is_latest}
    at = expected.at.replace(second=0, microsecond=0)
    return {"expected_at": at.isoformat(), "expected_latest": expected.is_latest}
