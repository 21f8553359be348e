"""Placing what waits."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from loraforge.core import live, outbox
from loraforge.core.errors import Conflict
from loraforge.instances.frames import status_frame
from loraforge.instances.models import Instance
from loraforge.instances.services import instance_assign
from loraforge.instances.states import State
from loraforge.nodes.models import Node
from loraforge.scheduling import selectors
from loraforge.scheduling.facts import Decision, Waits
from loraforge.scheduling.forecast import Expected, forecast
from loraforge.scheduling.policy import decide
from loraforge.scheduling.queueing import queue_lock

BATCH = 200  # rows of one UPDATE
# An estimate is written anew when it has moved by more than this, or by a tenth of the time until then.
MOVED_S = 60


def instances_place() -> int:
    """Give devices to whoever may go now, note why the others wait; returns how many go.

    One at a time over all workers: `queue_lock`.
    """
    if not Instance.objects.filter(state=State.QUEUED, deleted_at=None).exists():
        return 0  # most hints come for nothing; they take no lock
    with transaction.atomic():
        queue_lock()
        waiting = {row.pk: row for row in selectors.waiting_list()}
        situation = selectors.situation_now(waiting.values())
        decision = decide(situation)
        started = _assign(decision=decision, waiting=waiting)
        expected = forecast(situation=situation, decision=decision)
        _reasons_store(waiting=waiting, waits=decision.waits, expected=expected, now=situation.now)
    return started


def _assign(*, decision: Decision, waiting: dict[int, Instance]) -> int:
    nodes = Node.objects.in_bulk({placed.node for placed in decision.placed})
    started = 0
    for placed in decision.placed:
        try:
            with transaction.atomic():
                instance_assign(
                    instance=waiting[placed.id], node=nodes[placed.node], devices=placed.devices
                )
        except (IntegrityError, Conflict):
            continue  # withdrawn, or the device taken, since it was read; the next hint looks again
        started += 1
    return started


def _reasons_store(
    *,
    waiting: dict[int, Instance],
    waits: Sequence[Waits],
    expected: Mapping[int, Expected],
    now: datetime,
) -> None:
    """Note the reasons that are new and tell them; every place in the queue moves when one job starts.

    Three queries for however many wait. Rows that were withdrawn meanwhile are left as they are: those
    that are changed here stay locked until the commit.
    """
    changed = {}
    for wait in waits:
        instance = waiting[wait.id]
        start = _start_told(instance.wait_detail, expected.get(wait.id), now)
        told = (str(wait.reason), {**wait.detail, **start})
        if (instance.wait_reason, instance.wait_detail) != told:
            instance.wait_reason, instance.wait_detail = told
            changed[instance.pk] = instance
    if not changed:
        return
    queued = Instance.objects.filter(state=State.QUEUED)
    queued.bulk_update(changed.values(), ["wait_reason", "wait_detail"], batch_size=BATCH)
    outbox.frames_enqueue(
        (live.topic_job(pk), status_frame(changed[pk]))
        for pk in queued.filter(pk__in=changed).values_list("pk", flat=True)
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
