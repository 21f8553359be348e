"""Reservations of devices for some time, and limits of running jobs: what operators decide about the queue."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core import audit, outbox
from loraforge.core.errors import Conflict, Invalid
from loraforge.instances.models import Kind
from loraforge.nodes.models import Device, Node
from loraforge.scheduling.models import CapScope, Reservation, RunCap
from loraforge.scheduling.queueing import PLACE_TASK, queue_lock
from loraforge.swift.catalogue import catalogue_load

REASON_MAX = 200


@transaction.atomic
def reservation_create(
    *,
    actor: User,
    node: Node,
    starts_at: datetime,
    ends_at: datetime,
    reason: str,
    user: User | None = None,
    group: Group | None = None,
    devices: Sequence[str] = (),
) -> Reservation:
    """Keep devices of a node (none named = all) for a user or a group. What runs there goes on.

    Raises Denied for who is no operator, Invalid naming the field, Conflict when one of the devices is reserved
    for a part of that time already.
    """
    access.require(actor, Action.OPERATE)
    named = list(dict.fromkeys(devices))
    reservation = Reservation(
        node=node, devices=named, user=user, group=group, starts_at=starts_at, ends_at=ends_at,
        reason=reason.strip(), created_by=actor,
    )  # fmt: skip
    problems = reservation_problems(reservation)
    if problems:
        raise Invalid("scheduling:bad_reservation", _("Mend what is marked."), fields=problems)
    queue_lock()  # two that overlap cannot both look and then both write
    other = _overlapping(reservation).first()
    if other is not None:
        raise Conflict(
            "scheduling:reservation_overlaps",
            _(
                "%(node)s is reserved already from %(start)s to %(end)s. Choose another time or device."
            )
            % {
                "node": node.name,
                "start": f"{timezone.localtime(other.starts_at):%Y-%m-%d %H:%M}",
                "end": f"{timezone.localtime(other.ends_at):%Y-%m-%d %H:%M}",
            },
        )
    reservation.save()
    reservation.refresh_from_db()
    audit.record(actor=actor, target=reservation, what="scheduling:reserve")
    outbox.task_enqueue(PLACE_TASK)
    return reservation


def reservation_problems(reservation: Reservation) -> dict[str, list[str]]:
    """Field -> what is wrong with it and what to do."""
    found: dict[str, list[str]] = {}
    if (reservation.user is None) == (reservation.group is None):
        found["user"] = [_("Name either a user or a group.")]
    if reservation.ends_at <= max(reservation.starts_at, timezone.now()):
        found["ends_at"] = [_("Choose an end that is after the start and after now.")]
    if not 1 <= len(reservation.reason) <= REASON_MAX:
        found["reason"] = [_("Say in one line what it is for.")]
    known = Device.objects.filter(node=reservation.node, present=True)
    uuids = set(known.values_list("uuid", flat=True))
    unknown = [uuid for uuid in reservation.devices if uuid not in uuids]
    if unknown:
        text = _("%(node)s has no device %(uuid)s. Choose one that it has.")
        found["devices"] = [text % {"node": reservation.node.name, "uuid": str(unknown[0])[:80]}]
    return found


def _overlapping(wanted: Reservation) -> QuerySet[Reservation]:
    rows = Reservation.objects.filter(
        node=wanted.node,
        cancelled_at=None,
        starts_at__lt=wanted.ends_at,
        ends_at__gt=wanted.starts_at,
    )
    if not wanted.devices:
        return rows
    named = set(wanted.devices)
    keys = [row.pk for row in rows if not row.devices or named & set(row.devices)]
    return rows.filter(pk__in=keys)


@transaction.atomic
def reservation_cancel(*, actor: User, reservation: Reservation) -> Reservation:
    """It holds nothing any more. Raises Conflict when it is over or was cancelled."""
    access.require(actor, Action.OPERATE)
    now = timezone.now()
    rows = Reservation.objects.filter(pk=reservation.pk, cancelled_at=None, ends_at__gt=now)
    if not rows.update(cancelled_at=now):
        raise Conflict("scheduling:reservation_over", _("This reservation is over already."))
    reservation.refresh_from_db()
    audit.record(
        actor=actor,
        target=reservation,
        what="scheduling:reservation_cancel",
        changes={"cancelled_at": [None, now.isoformat()]},
    )
    outbox.task_enqueue(PLACE_TASK)
    return reservation


def kinds_known() -> list[str]:
    """What a limit may count jobs by."""
    return [*Kind.values, *sorted(catalogue_load().commands)]


def cap_problems(cap: RunCap) -> dict[str, list[str]]:
    """Field -> what is wrong with it and what to do."""
    found: dict[str, list[str]] = {}
    if (cap.scope == CapScope.USER) != (cap.user is not None):
        found["user"] = [_("Name a user for “One user”, and none else.")]
    if (cap.scope == CapScope.GROUP) != (cap.group is not None):
        found["group"] = [_("Name a group for “One group”, and none else.")]
    if cap.kind and cap.kind not in kinds_known():
        text = _("There is no such kind. One of: %(kinds)s; or leave it empty for all together.")
        found["kind"] = [text % {"kinds": ", ".join(kinds_known())}]
    same = RunCap.objects.filter(scope=cap.scope, user=cap.user, group=cap.group, kind=cap.kind)
    if same.exclude(pk=cap.pk).exists():
        found["scope"] = [_("There is a limit for this already. Change that one.")]
    return found


@transaction.atomic
def cap_save(*, actor: User, cap: RunCap) -> RunCap:
    """Add or change a limit; it holds for the next start. Raises Denied, and Invalid naming the field."""
    access.require(actor, Action.OPERATE)
    problems = cap_problems(cap)
    if problems:
        raise Invalid("scheduling:bad_cap", _("Mend what is marked."), fields=problems)
    cap.save()
    audit.record(actor=actor, target=cap, what="scheduling:cap", changes=_plain(cap))
    outbox.task_enqueue(PLACE_TASK)
    return cap


@transaction.atomic
def cap_delete(*, actor: User, cap: RunCap) -> None:
    """The next nearer limit or setting holds from now on."""
    access.require(actor, Action.OPERATE)
    audit.record(actor=actor, target=cap, what="scheduling:cap_delete", changes=_plain(cap))
    cap.delete()
    outbox.task_enqueue(PLACE_TASK)


def _plain(cap: RunCap) -> dict[str, list[Any]]:
    return {"limit": [None, cap.limit], "for": [None, str(cap)], "kind": [None, cap.kind]}
