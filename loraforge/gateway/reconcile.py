"""What a node holds against what SQL wants: resend, stop, take back, or give up.

Every heartbeat carries the inventory, so whatever message was lost is made good here. Messages of an
old attempt, and trainings whose instance has gone on, are stopped; what SQL has never heard of is left
alone, since the one that forgot may be SQL (a restored backup).
"""

import logging
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from loraforge.core import outbox
from loraforge.core.columns import columns_of_key
from loraforge.core.errors import Conflict
from loraforge.datasets.models import Dataset
from loraforge.datasets.selectors import hashes_deleted
from loraforge.gateway import inbound
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.services import START_TASK, STOP_TASK
from loraforge.instances.states import ACTIVE, State
from loraforge.instances.transitions import instance_move
from loraforge.nodes.models import Node, NodeState
from loraforge.training.faults import NODE_LOST
from loraforge.training.models import NodeLost
from loraforge.training.policy import RETRIES_MAX
from loraforge.training.recovery import attempt_recover
from nodeagent.contract.reports import Heartbeat, Held

log = logging.getLogger(__name__)

START_AGAIN = timedelta(seconds=5)
STOP_AGAIN_S = 10.0
MISSING_GRACE_S = 30.0
LATE_REPORT_S = 10.0
DISCARD_TASK = "gateway.discard_send"
LOST_ATTEMPT = "node:lost_attempt"
NODE_AWAY = "node:offline"

_ACTIVE = [str(state) for state in ACTIVE]
_AWAY = frozenset({NodeState.OFFLINE, NodeState.LOST})


@dataclass
class Memory:
    """When something was first noticed or last sent, by this process. Losing it only repeats a message."""

    times: dict[tuple[str, int], float] = field(default_factory=dict)

    def is_due(self, what: str, pk: int, every_s: float) -> bool:
        """True at most once in ``every_s``."""
        now = time.monotonic()
        if now - self.times.get((what, pk), -every_s) < every_s:
            return False
        self.times[what, pk] = now
        return True

    def lasts_s(self, what: str, pk: int) -> float:
        """How long this has been noticed without a `forget`."""
        return time.monotonic() - self.times.setdefault((what, pk), time.monotonic())

    def forget(self, what: str, pk: int) -> None:
        """It is not so any more."""
        self.times.pop((what, pk), None)


@dataclass(frozen=True)
class Wishes:
    """What the node must be asked beside commands. reread_after: journal number, None = nothing."""

    reread_after: int | None = None


class _Given(NamedTuple):
    """An attempt that a node should hold, as far as it takes to see that all is well: of nearly all it is."""

    pk: int
    instance_id: int
    number: int
    fenced_after_s: int
    spec_hash: str
    stop_requested: str
    state: str

    def is_as_told(self, one: Held) -> bool:
        """What the node says of it leaves nothing to do."""
        return (
            one.fenced_after_s == self.fenced_after_s
            and not one.phase.is_final
            and not self.stop_requested
            and self.state != State.UNKNOWN
            and one.spec_hash in {"", self.spec_hash}
        )


_GIVEN = tuple("instance__state" if name == "state" else name for name in _Given._fields)


def _given_of(node_id: int) -> QuerySet[Attempt]:
    return Attempt.objects.filter(
        node=node_id,
        number=F("instance__attempt"),
        instance__state__in=_ACTIVE,
        instance__deleted_at=None,
    ).order_by()


def node_reconcile(
    *, node: Node, heartbeat: Heartbeat, memory: Memory, now: datetime | None = None
) -> Wishes:
    """Compare an inventory with SQL and enqueue what brings the two together."""
    now = now or timezone.now()
    held = {(one.instance, one.attempt): one for one in heartbeat.held}
    odd: dict[int, Held | None] = {}
    for row in map(_Given._make, columns_of_key(_given_of, _GIVEN, node.pk)):
        one = held.pop((row.instance_id, row.number), None)
        if one is not None and row.is_as_told(one):
            memory.forget("missing", row.pk)
            memory.forget("late", row.pk)
        else:
            odd[row.pk] = one
    late: list[int] = []
    whole = Attempt.objects.filter(pk__in=odd).select_related("instance")
    for attempt in whole if odd else ():
        told = odd[attempt.pk]
        if told is None:
            _missing(attempt=attempt, unknown=heartbeat.unknown, memory=memory, now=now)
        elif _held(attempt=attempt, one=told, memory=memory):
            late.append(attempt.phase_seq)
    _unwanted_stop(
        [one for one in held.values() if not one.phase.is_final], node=node, memory=memory
    )
    if heartbeat.cached and (gone := hashes_deleted(heartbeat.cached)):
        outbox.task_enqueue(DISCARD_TASK, node_id=node.pk, hashes=gone)
    return Wishes(reread_after=min(late) if late else None)


def dataset_deleting(*, dataset: Dataset) -> None:
    """Subscriber of events.DATASET_DELETING: nodes that were given it let go of it, each when it is there."""
    if not dataset.sha256:
        return  # of a model hub; nobody's upload
    used = Attempt.objects.filter(instance__job__job_datasets__dataset=dataset)
    for node_id in used.values_list("node_id", flat=True).distinct().order_by("node_id"):
        outbox.task_enqueue(DISCARD_TASK, node_id=node_id, hashes=[dataset.sha256])


def _missing(*, attempt: Attempt, unknown: list[str], memory: Memory, now: datetime) -> None:
    """SQL says that the node has it; the node does not."""
    if not attempt.phase:
        _never_arrived(attempt=attempt, memory=memory, now=now)
        return
    if f"lf-{attempt.instance_id}-a{attempt.number}" in unknown:
        log.error("%s runs on %s, but its agent lost its journal", attempt, attempt.node_id)
        return
    if memory.lasts_s("missing", attempt.pk) >= MISSING_GRACE_S:
        memory.forget("missing", attempt.pk)
        inbound.attempt_fail(
            attempt=attempt,
            reason=LOST_ATTEMPT,
            detail="The node does not know this attempt any more.",
        )


def _never_arrived(*, attempt: Attempt, memory: Memory, now: datetime) -> None:
    if attempt.stop_requested:
        _stop_again(attempt=attempt, memory=memory)  # leaves a tombstone there, which ends it here
        return
    if attempt.instance.state == State.UNKNOWN:
        _move(attempt=attempt, target=State.ASSIGNED)
    is_late = now - attempt.assigned_at > START_AGAIN
    if is_late and memory.is_due("start", attempt.pk, START_AGAIN.total_seconds()):
        log.info("%s has not arrived at its node; sent again", attempt)
        outbox.task_enqueue(START_TASK, instance_id=attempt.instance_id, attempt=attempt.number)


def _held(*, attempt: Attempt, one: Held, memory: Memory) -> bool:
    """Both know it. True when the node's last word about it has not come for long."""
    memory.forget("missing", attempt.pk)
    if one.fenced_after_s != attempt.fenced_after_s:
        Attempt.objects.filter(pk=attempt.pk).update(fenced_after_s=one.fenced_after_s)
    if attempt.spec_hash and one.spec_hash and one.spec_hash != attempt.spec_hash:
        log.error("%s runs with another specification than SQL has", attempt)
    if one.phase.is_final:
        return memory.lasts_s("late", attempt.pk) >= LATE_REPORT_S and memory.is_due(
            "reread", attempt.pk, LATE_REPORT_S
        )
    memory.forget("late", attempt.pk)
    if attempt.instance.state == State.UNKNOWN:
        _back(attempt)
    if attempt.stop_requested:
        _stop_again(attempt=attempt, memory=memory)
    return False


def _back(attempt: Attempt) -> None:
    """The node is heard again and still holds it."""
    if not inbound.state_follow(attempt=attempt, detail="The node is reachable again."):
        _move(attempt=attempt, target=State.STOPPING if attempt.stop_requested else State.ASSIGNED)


def _stop_again(*, attempt: Attempt, memory: Memory) -> None:
    if memory.is_due("stop", attempt.pk, STOP_AGAIN_S):
        outbox.task_enqueue(
            STOP_TASK,
            instance_id=attempt.instance_id,
            attempt=attempt.number,
            mode=attempt.stop_requested or "save",
        )


def _unwanted_stop(held: list[Held], *, node: Node, memory: Memory) -> None:
    """End what the node runs for an instance that has ended, was deleted, or has a newer attempt."""
    if not held:
        return
    rows = Attempt.objects.filter(node=node, instance__in={one.instance for one in held})
    known = {(row.instance_id, row.number): row for row in rows}
    for one in held:
        attempt = known.get((one.instance, one.attempt))
        if attempt is None:
            log.error("%s holds an attempt that is not in the database: %s", node, one)
        else:
            log.warning("%s runs on %s though its instance has gone on; stopped", attempt, node)
            _stop_again(attempt=attempt, memory=memory)


def _move(*, attempt: Attempt, target: State, reason: str = "") -> None:
    instance = attempt.instance
    try:
        instance_move(
            instance=instance,
            target=target,
            attempt=attempt.number,
            sources=frozenset({State(instance.state)}),
            reason=reason,
        )
    except Conflict:
        log.info("%s has gone on meanwhile", instance)


def node_state_changed(*, node: Node, before: NodeState) -> None:
    """Subscriber of events.NODE_STATE_CHANGED: instances of an unreachable node are UNKNOWN, not failed."""
    if NodeState(node.state) not in _AWAY or before in _AWAY:
        return
    reachable = [str(state) for state in ACTIVE - {State.UNKNOWN}]
    for instance in Instance.objects.filter(node=node, state__in=reachable, deleted_at=None):
        attempt = Attempt.objects.filter(instance=instance, number=instance.attempt).first()
        if attempt is not None:
            attempt.instance = instance
            _move(attempt=attempt, target=State.UNKNOWN, reason=NODE_AWAY)


def lost_review(*, now: datetime | None = None) -> int:
    """Replace what lost nodes have ended by themselves, where the owner asked for that; returns how many.

    Only what its node itself has said that it ends (`Held.fenced_after_s`), and only when that time is
    over: nothing ever runs twice.
    """
    now = now or timezone.now()
    rows = Attempt.objects.filter(
        number=F("instance__attempt"),
        node__state=NodeState.LOST,
        fenced_after_s__gt=0,
        stop_requested="",
        instance__state=State.UNKNOWN,
        instance__deleted_at=None,
        instance__retries__lt=RETRIES_MAX,
        instance__job__on_node_lost=NodeLost.RESTART,
    ).select_related("instance", "node")
    return sum(_replace(attempt, now) for attempt in rows)


@transaction.atomic
def _replace(attempt: Attempt, now: datetime) -> bool:
    node = Node.objects.select_for_update().get(pk=attempt.node_id)
    if node.state != NodeState.LOST or node.seen_at is None:
        return False  # heard meanwhile
    if (now - node.seen_at).total_seconds() < attempt.fenced_after_s:
        return False
    if not attempt_recover(attempt=attempt, reason=NODE_LOST, detail=""):
        return False
    Attempt.objects.filter(pk=attempt.pk).update(failure_reason=NODE_LOST, ended_at=now)
    return True
