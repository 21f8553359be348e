"""Removing the files of instances: by their age, or with their instance; each class of file exactly once.

SQL remembers what is removed and what its node has not confirmed yet, so a lost message only delays. Two
workers at once do no harm: each removal begins under the lock of its instance's row, and is one row.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from loraforge.artifacts import retention
from loraforge.artifacts.keeping import copies_delete
from loraforge.artifacts.leases import leased_until, leases_expire
from loraforge.artifacts.lifetimes import rule_of
from loraforge.artifacts.models import OutputFile, Removal, RemovalNotice
from loraforge.artifacts.retention import Facts, Place, Rule
from loraforge.core import audit, events, outbox
from loraforge.instances.models import Attempt, Instance, InstanceEvent
from loraforge.instances.services import REMOVE_TASK
from loraforge.instances.states import TERMINAL, State
from loraforge.nodes.models import NodeState

BATCH = 100  # instances that one step takes on
ASK_AGAIN = timedelta(minutes=10)

_log = logging.getLogger(__name__)


def facts_of(instance: Instance) -> Facts:
    """What the policy needs to know of an instance."""
    ended = [] if instance.ended_at is None else [instance.ended_at]
    told = RemovalNotice.objects.filter(instance=instance, ended_at__in=ended).first()
    return Facts(
        state=State(instance.state),
        keep=instance.keep,
        ended_at=instance.ended_at,
        told_at=told.told_at if told is not None else None,
        leased_until=leased_until(instance_id=instance.pk),
    )


def retention_sweep(*, now: datetime | None = None) -> int:
    """One step of the periodic work: tell, remove, ask again; returns how many instances lost files."""
    now = now or timezone.now()
    leases_expire(now=now)
    RemovalNotice.objects.filter(instance__keep=True).delete()  # given free again, it is told again
    _each(_untold(now), partial(_tell, now=now))
    removed = 0
    for place in Place:
        removed += _each(_aged(place, now), partial(_remove_aged, place=place, now=now))
    removals_ask(now=now)
    return removed


def _each(ids: Iterable[int], act: Callable[[Instance], bool]) -> int:
    """Each instance in a transaction of its own, locked, as it is then; how many were acted on."""
    done = 0
    for pk in ids:
        with transaction.atomic():
            done += act(Instance.objects.select_for_update().get(pk=pk))
    return done


# --- by age ---------------------------------------------------------------------------------------------


def _ended(before: datetime) -> QuerySet[Instance]:
    return Instance.objects.filter(
        state__in=[str(state) for state in TERMINAL], keep=False, ended_at__lte=before
    )


def _left(place: Place) -> Exists:
    """An attempt whose files in this place were not removed."""
    gone = Removal.objects.filter(attempt=OuterRef("pk"), place=place)
    return Exists(Attempt.objects.filter(~Exists(gone), instance=OuterRef("pk")))


def _untold(now: datetime) -> list[int]:
    rule = _soonest()
    if rule.kept_for is None:
        return []
    told = RemovalNotice.objects.filter(instance=OuterRef("pk"), ended_at=OuterRef("ended_at"))
    rows = _ended(now - rule.kept_for + rule.tell_ahead).filter(~Exists(told), _left(Place.NODE))
    return list(rows.order_by("ended_at").values_list("pk", flat=True)[:BATCH])


def _soonest() -> Rule:
    """The rule that removes first; it is what people are told of."""
    rules = [rule for rule in map(rule_of, Place) if rule.kept_for is not None]
    return min(rules, key=lambda rule: rule.kept_for or timedelta(), default=Rule(kept_for=None))


def _tell(instance: Instance, *, now: datetime) -> bool:
    facts, rule = facts_of(instance), _soonest()
    if instance.ended_at is None or not retention.is_to_tell(facts, rule, now=now):
        return False
    RemovalNotice.objects.create(instance=instance, ended_at=instance.ended_at, told_at=now)
    at = retention.removal_at(facts, rule, now=now)
    if instance.deleted_at is None:
        events.emit(events.FILES_GO_SOON, instance=instance, at=at)
    return True


def _aged(place: Place, now: datetime) -> list[int]:
    rule = rule_of(place)
    if rule.kept_for is None:
        return []
    told = RemovalNotice.objects.filter(
        instance=OuterRef("pk"), ended_at=OuterRef("ended_at"), told_at__lte=now - rule.tell_ahead
    )
    leased = Q(file_leases__expires_at__gt=now)
    rows = _ended(now - rule.kept_for).filter(Exists(told), _left(place)).exclude(leased)
    return list(rows.order_by("ended_at").values_list("pk", flat=True)[:BATCH])


def _remove_aged(instance: Instance, *, place: Place, now: datetime) -> bool:
    if not retention.is_due(facts_of(instance), rule_of(place), now=now):
        return False
    removals = _begin(instance, place, now=now)
    if not removals:
        return False
    copies_delete(instance=instance)
    size_bytes = sum(removal.size_bytes for removal in removals)
    audit.record(
        actor=None,
        target=instance,
        what="artifacts:remove",
        changes={f"files_{place}": [size_bytes, 0]},
    )
    InstanceEvent.objects.create(
        instance=instance,
        attempt=instance.attempt,
        reason=f"retention:{place}_removed",
        detail=f"{size_bytes} bytes",
    )
    _log.info("#%d: files in place %s removed, %d bytes", instance.pk, place, size_bytes)
    return True


# --- with the instance ------------------------------------------------------------------------------------


def instance_deleted(*, instance: Instance, files: bool) -> None:
    """Subscriber of events.INSTANCE_DELETED: with ``files`` they go now, else by their age.

    Somebody may be in the middle of a download: then nodes are asked once that is over.
    """
    if not files:
        return
    now = timezone.now()
    Instance.objects.select_for_update().get(pk=instance.pk)
    for place in Place:
        _begin(instance, place, now=now)


# --- what both do -------------------------------------------------------------------------------------------


@transaction.atomic
def moved_files_remove(*, instance: Instance, node_id: int, up_to: int) -> int:
    """A training has moved on: what its attempts up to this one left on that node goes; how many bytes.

    Copies that the control plane keeps stay. While somebody is handed files the node is asked later.
    """
    locked = Instance.objects.select_for_update().get(pk=instance.pk)
    only = Q(node=node_id, number__lte=up_to)
    removals = _begin(locked, Place.NODE, now=timezone.now(), only=only)
    return sum(removal.size_bytes for removal in removals)


def _begin(
    instance: Instance, place: Place, *, now: datetime, only: Q | None = None
) -> list[Removal]:
    """Note that the files of all attempts in this place are gone, and have them deleted. Row is locked."""
    gone = Removal.objects.filter(attempt=OuterRef("pk"), place=place)
    rows = Attempt.objects.filter(~Exists(gone), instance=instance)
    attempts = list(rows.filter(only) if only is not None else rows)
    listed = OutputFile.objects.filter(attempt__in=attempts, removed_at=None)
    sizes = dict(listed.values_list("attempt").annotate(total=Sum("size_bytes")).order_by())
    removals = Removal.objects.bulk_create(
        Removal(attempt=attempt, place=place, begun_at=now, size_bytes=sizes.get(attempt.pk) or 0)
        for attempt in attempts
    )
    if place is Place.NODE:
        listed.update(removed_at=now)
    _ask(instance, removals, now=now)
    return removals


def _ask(instance: Instance, removals: list[Removal], *, now: datetime) -> None:
    """Have each node delete up to its last attempt, unless somebody is handed files right now."""
    until = leased_until(instance_id=instance.pk)
    if until is not None and until > now:
        return
    last_of_node: dict[int, Removal] = {}
    for removal in removals:
        known = last_of_node.get(removal.attempt.node_id)
        if known is None or known.attempt.number < removal.attempt.number:
            last_of_node[removal.attempt.node_id] = removal
    for last in last_of_node.values():
        outbox.task_enqueue(
            REMOVE_TASK, instance_id=instance.pk, attempt=last.attempt.number, tries=last.tries
        )
    Removal.objects.filter(pk__in=[removal.pk for removal in removals]).update(asked_at=now)


def removals_ask(*, now: datetime) -> int:
    """Ask nodes that are there for what they have not confirmed; returns for how many instances."""
    late = Q(asked_at=None) | Q(asked_at__lt=now - ASK_AGAIN)
    rows = Removal.objects.filter(
        late, place=Place.NODE, done_at=None, attempt__node__state=NodeState.ONLINE
    )
    ids = list(rows.order_by("asked_at").values_list("attempt__instance_id", flat=True)[:BATCH])

    def ask(instance: Instance) -> bool:
        found = list(rows.filter(attempt__instance=instance).select_related("attempt"))
        _ask(instance, found, now=now)
        return bool(found)

    return _each(dict.fromkeys(ids), ask)


@transaction.atomic
def removal_answered(*, attempt: Attempt, error: str) -> None:
    """The node did what `REMOVE_TASK` asked for this attempt and all before it, or refused."""
    rows = Removal.objects.filter(
        place=Place.NODE,
        done_at=None,
        attempt__instance_id=attempt.instance_id,
        attempt__node_id=attempt.node_id,
        attempt__number__lte=attempt.number,
    )
    if error:
        rows.update(tries=F("tries") + 1)
        _log.warning("%s: its node did not remove the files: %s", attempt, error)
    else:
        rows.update(done_at=timezone.now())
