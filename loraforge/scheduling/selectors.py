"""Where a job would go, and what the queue looks like from one's place in it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Max, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.models import User
from loraforge.billing.budgets import budgets_blocking
from loraforge.core.columns import columns_read
from loraforge.core.errors import Conflict, NotFound
from loraforge.instances.models import Attempt, DeviceLease, Instance, Kind
from loraforge.instances.priorities import PriorityClass, priority_class
from loraforge.instances.states import ACTIVE, State
from loraforge.nodes.models import Device, DeviceKind, DiskLevel, Node, NodeState
from loraforge.scheduling.capping import Tally
from loraforge.scheduling.explaining import Explained, explain
from loraforge.scheduling.facts import (
    Aging,
    Booking,
    CapRule,
    Caps,
    Place,
    Placed,
    Running,
    Scope,
    Situation,
    Slot,
    Waits,
    Want,
)
from loraforge.scheduling.having import models_had
from loraforge.scheduling.models import Reservation, RunCap
from loraforge.scheduling.policy import decide
from loraforge.scheduling.reasons import reason_text
from loraforge.scheduling.waiting import Waiting, kinds_of, waiting_list, want_of

# Behind everything that waits: the preview is of a job submitted now.
_NEWEST = datetime(9999, 1, 1, tzinfo=UTC)
_PREVIEW_ID = 2**62


def _why_blocked(marks: Sequence[Mapping[str, Any]]) -> str:
    """The first of a device's marks that keeps it from jobs."""
    return next((str(mark["kind"]) for mark in marks if mark["blocks"]), "")


_DEVICE = ("node_id", "uuid", "kind", "index", "blocked", "marks")


def _is_silent(node: Node, now: datetime) -> bool:
    """Not heard for so long that it would be suspect, were the platform not itself just back: it calls the node online
    from before, and jobs wait until it is heard.
    """
    limit = timedelta(seconds=settings.NODE_SUSPECT_S)
    return node.seen_at is not None and now - node.seen_at >= limit


def places_now(*, now: datetime | None = None) -> list[Place]:
    """All nodes with the devices that are there, and what is reserved of them; four or five queries."""
    held = set(DeviceLease.objects.filter(released_at=None).values_list("node_id", "device_uuid"))
    slots: dict[int, list[Slot]] = {}
    devices = Device.objects.filter(present=True).order_by("node_id", "index")
    for node_id, uuid, kind, index, blocked, marks in columns_read(devices, _DEVICE):
        is_held = (node_id, uuid) in held
        slot = Slot(
            uuid=uuid,
            is_gpu=kind == DeviceKind.GPU,
            free=not is_held and not blocked,
            number=index,
            blocked="" if is_held else _why_blocked(marks),
        )
        slots.setdefault(node_id, []).append(slot)
    now = now or timezone.now()
    bookings = bookings_now(now=now, slots=slots)
    return [
        Place(
            id=node.pk,
            name=node.name,
            takes=node.state == NodeState.ONLINE and not _is_silent(node, now),
            cordoned=node.cordoned,
            disk_low=node.disk_level == DiskLevel.LOW,
            slots=tuple(slots.get(node.pk, [])),
            bookings=tuple(bookings.get(node.pk, [])),
            models=models_had(node.cached_models),
        )
        for node in Node.objects.exclude(state=NodeState.NEW)
    ]


def bookings_now(*, now: datetime, slots: Mapping[int, Sequence[Slot]]) -> dict[int, list[Booking]]:
    """Node id -> reservations that have not ended; a group's are its members'. One or two queries."""
    rows = list(Reservation.objects.filter(cancelled_at=None, ends_at__gt=now))
    members: dict[int, set[int]] = {}
    groups = {row.group_id for row in rows if row.group_id is not None}
    if groups:
        through = User.groups.through.objects.filter(group_id__in=groups)
        for group_id, user_id in through.values_list("group_id", "user_id"):
            members.setdefault(group_id, set()).add(user_id)
    found: dict[int, list[Booking]] = {}
    for row in rows:
        every = frozenset(slot.uuid for slot in slots.get(row.node_id, ()))
        owners = {row.user_id} if row.user_id is not None else members.get(row.group_id or 0, set())
        booking = Booking(
            id=row.pk,
            devices=frozenset(row.devices) or every,
            owners=frozenset(owners),
            starts=row.starts_at,
            ends=row.ends_at,
        )
        found.setdefault(row.node_id, []).append(booking)
    return found


_ACTIVE = [str(state) for state in ACTIVE]


def running_now(*, now: datetime, groups: Mapping[int, tuple[str, ...]]) -> list[Running]:
    """Whoever holds devices or is on the way to, and when they end as far as it is known; two queries."""
    devices: dict[int, list[str]] = {}
    leases = DeviceLease.objects.filter(released_at=None)
    for instance_id, uuid in leases.values_list("attempt__instance_id", "device_uuid"):
        devices.setdefault(instance_id, []).append(uuid)
    rows = Instance.objects.filter(state__in=_ACTIVE).values_list(
        "pk",
        "owner_id",
        "node_id",
        "kind",
        "job__command",
        "eta_s",
        "started_at",
        "job__run_limit_s",
    )
    found = []
    for pk, owner, node, kind, command, eta_s, started_at, limit_s in rows:
        ends_at, is_latest = None, False
        if eta_s is not None:
            ends_at = now + timedelta(seconds=eta_s)
        elif limit_s and started_at is not None:
            ends_at, is_latest = started_at + timedelta(seconds=limit_s), True
        running = Running(
            id=pk,
            owner=owner,
            node=node,
            devices=tuple(devices.get(pk, ())),
            ends_at=ends_at,
            is_latest=is_latest,
            groups=groups.get(owner, ()),
            kinds=kinds_of(kind, command),
        )
        found.append(running)
    return found


def caps_now() -> Caps:
    """The caps by settings, and the nearer ones that operators have set; one query."""
    rules = [
        CapRule(
            scope=Scope(row.scope),
            limit=row.limit,
            subject=row.user_id if row.group is None else row.group.name,
            kind=row.kind,
        )
        for row in RunCap.objects.select_related("group")
    ]
    return Caps(
        total=settings.MAX_RUNNING,
        per_owner=settings.MAX_RUNNING_PER_USER,
        per_group=settings.MAX_RUNNING_PER_GROUP or None,
        per_kind=settings.MAX_RUNNING_PER_KIND,
        rules=tuple(rules),
    )


def groups_counted(caps: Caps) -> dict[int, tuple[str, ...]]:
    """User id -> names of their groups, as far as a cap counts groups; a query only then."""
    scopes = {rule.scope for rule in caps.rules}
    if caps.per_group is None and not scopes & {Scope.GROUP, Scope.EACH_GROUP}:
        return {}
    found: dict[int, tuple[str, ...]] = {}
    rows = User.groups.through.objects.order_by("group__name")
    for user_id, name in rows.values_list("user_id", "group__name"):
        found[user_id] = (*found.get(user_id, ()), name)
    return found


def aging_now(*, now: datetime, wants: Sequence[Want]) -> Aging:
    """When those who wait for long were last started; a query only if somebody does."""
    after = timedelta(seconds=settings.QUEUE_AGED_S)
    old = {want.owner for want in wants if want.queued_at <= now - after}
    if not old:
        return Aging(after=after)
    starts = Attempt.objects.filter(instance__owner__in=old, assigned_at__gt=now - after)
    latest = starts.values_list("instance__owner_id", "instance__priority").annotate(
        at=Max("assigned_at")
    )
    last: dict[tuple[int, PriorityClass], datetime] = {}
    for owner, number, at in latest.order_by():
        group = (owner, priority_class(number))
        last[group] = max(at, last.get(group, at))
    return Aging(after=after, last_started=last)


def situation_now(
    waiting: Iterable[Waiting] | None = None, *, also: Sequence[Want] = ()
) -> Situation:
    """All that a decision depends on. waiting: the queue, if it was read already."""
    now = timezone.now()
    caps = caps_now()
    groups = groups_counted(caps)
    rows = waiting_list() if waiting is None else waiting
    wants = [want_of(row, groups) for row in rows]
    wants += [replace(want, groups=groups.get(want.owner, ())) for want in also]
    blocked = budgets_blocking(owners={want.owner for want in wants})
    if blocked:
        wants = [replace(want, budget_blocked=blocked.get(want.owner)) for want in wants]
    return Situation(
        now=now,
        wants=tuple(wants),
        places=tuple(places_now(now=now)),
        running=tuple(running_now(now=now, groups=groups)),
        caps=caps,
        aging=aging_now(now=now, wants=wants),
        lead=timedelta(seconds=settings.RESERVATION_LEAD_S),
    )


def caps_of(*, user: User) -> tuple[int, int]:
    """How many jobs may run in all, and how many of this user."""
    caps = caps_now()
    tally = Tally(caps, ())
    want = Want(id=0, owner=user.pk, queued_at=_NEWEST)
    limits = {limit.key[0]: limit.limit for limit in tally.limits(want)}
    return limits[Scope.ALL], limits[Scope.USER]


@dataclass(frozen=True)
class Preview:
    """Where a job submitted now would run. node None = it would wait, for ``reason``."""

    node: Node | None
    devices: tuple[Device, ...]
    reason: str
    detail: dict[str, Any]
    text: str

    @property
    def starts_now(self) -> bool:
        """True when it would not wait."""
        return self.node is not None

    @property
    def said(self) -> str:
        """Where it would run or why it would wait if it were submitted at this moment, as one sentence."""
        if self.starts_now:
            return _("Right now: %(where)s") % {"where": self.text}
        return _("Right now it would wait: %(why)s") % {"why": self.text}


def placement_preview(
    *,
    user: User,
    command: str = "sft",
    gpus: int = 1,
    wanted_node: Node | None = None,
    wanted_devices: Sequence[str] = (),
) -> Preview:
    """Recommend a node and devices for a job that ``user`` would submit now, or say why it would wait."""
    want = Want(
        id=_PREVIEW_ID,
        owner=user.pk,
        queued_at=_NEWEST,
        gpus=gpus,
        node=wanted_node.pk if wanted_node else None,
        devices=tuple(dict.fromkeys(wanted_devices)),
        kinds=kinds_of(Kind.JOB, command),
    )
    situation = situation_now(also=[want])
    decision = decide(situation)
    for placed in decision.placed:
        if placed.id == _PREVIEW_ID:
            free = {place.id: sum(slot.free for slot in place.slots) for place in situation.places}
            return _placed_preview(placed, free=free[placed.node])
    wait = next(wait for wait in decision.waits if wait.id == _PREVIEW_ID)
    return _wait_preview(wait)


def _placed_preview(placed: Placed, *, free: int) -> Preview:
    node = Node.objects.get(pk=placed.node)
    devices = Device.objects.filter(node=node, uuid__in=placed.devices).order_by("index")
    text = _("%(node)s fits best: %(free)s free now, %(count)s needed.") % {
        "node": node.name,
        "free": free,
        "count": len(placed.devices),
    }
    return Preview(
        node=node,
        devices=tuple(devices),
        reason="scheduling:best_fit",
        detail={"free": free},
        text=text,
    )


def _wait_preview(wait: Waits) -> Preview:
    return Preview(
        node=None,
        devices=(),
        reason=str(wait.reason),
        detail=wait.detail,
        text=reason_text(reason=wait.reason, detail=wait.detail),
    )


def queue_position(*, instance: Instance) -> int | None:
    """The instance's place in the queue, 1 = goes next, as the last decision has it; None when it does not wait."""
    return position_in(state=instance.state, detail=instance.wait_detail)


def position_in(*, state: str, detail: Mapping[str, Any]) -> int | None:
    """The same of the columns of a list."""
    position = detail.get("position") if state == State.QUEUED else None
    return position if isinstance(position, int) else None


def wait_text(*, instance: Instance) -> str:
    """Why this instance waits, as one sentence; empty when it does not wait or nobody has looked yet."""
    if instance.state != State.QUEUED or not instance.wait_reason:
        return ""
    return reason_text(reason=instance.wait_reason, detail=instance.wait_detail)


def explained_get(*, instance: Instance) -> Explained:
    """What decides about a waiting instance now. Raises Conflict when it does not wait."""
    situation = situation_now()
    want = next((want for want in situation.wants if want.id == instance.pk), None)
    if want is None:
        text = _("#%(number)s does not wait any more.") % {"number": instance.pk}
        raise Conflict("scheduling:not_waiting", text)
    return explain(situation=situation, decision=decide(situation), want=want)


def reservation_list() -> QuerySet[Reservation]:
    """Those that have not ended, first to last."""
    rows = Reservation.objects.filter(cancelled_at=None, ends_at__gt=timezone.now())
    return rows.select_related("node", "user", "group").order_by("starts_at", "pk")


def reservations_known(*, user: User, rows: Iterable[Reservation]) -> set[int]:
    """Keys of those of which the user may know for whom and why they are."""
    if access.sees_all(user):
        return {row.pk for row in rows}
    groups = set(user.groups.values_list("pk", flat=True))
    return {row.pk for row in rows if row.user_id == user.pk or row.group_id in groups}


def reservation_get(*, pk: int) -> Reservation:
    """Raises NotFound when it is not there."""
    found = Reservation.objects.filter(pk=pk).first()
    if found is None:
        raise NotFound("scheduling:no_reservation", _("There is no such reservation."))
    return found
