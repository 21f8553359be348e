"""The queue as one person sees it: what waits and for what, what runs before it, what is reserved."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Q, QuerySet
from django.db.models.fields.json import KeyTransform
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from loraforge.accounts import access
from loraforge.accounts.models import User
from loraforge.instances.models import Instance
from loraforge.instances.priorities import NUMBERS, PriorityClass, priority_class
from loraforge.instances.states import ACTIVE, State
from loraforge.nodes.models import Device, Node
from loraforge.scheduling.explaining import CapVerdict, NodeVerdict
from loraforge.scheduling.facts import Scope
from loraforge.scheduling.models import Reservation
from loraforge.scheduling.reasons import reason_text
from loraforge.scheduling.selectors import (
    caps_of,
    position_in,
    reservation_list,
    reservations_known,
)
from loraforge.training.selectors import job_instances

RUNNING_SHOWN = 12
RESERVATIONS_SHOWN = 50
CLASS_LABELS: dict[PriorityClass, Promise] = {
    PriorityClass.URGENT: gettext_lazy("Urgent"),
    PriorityClass.HIGH: gettext_lazy("High"),
    PriorityClass.NORMAL: gettext_lazy("Normal"),
    PriorityClass.LOW: gettext_lazy("Low"),
}
_ACTIVE = [str(state) for state in ACTIVE]
_COLUMNS = (
    "pk", "name", "owner_id", "owner__username", "gpus", "priority", "queued_at", "wait_reason", "wait_detail",
)  # fmt: skip


@dataclass(frozen=True)
class OwnPlace:
    """Where a job stands among those of its owner. ahead: of theirs, in the order of the whole queue."""

    is_first: bool
    is_last: bool
    ahead: int


@dataclass(frozen=True, kw_only=True)
class WaitingLine:
    """A waiting job. position: None until a decision has looked at it; own: None for somebody else's job."""

    pk: int
    name: str
    owner_id: int
    owner: str
    gpus: int
    priority: PriorityClass
    position: int | None
    starts_at: datetime | None
    is_latest: bool
    wait_text: str
    own: OwnPlace | None

    @property
    def label(self) -> Promise:
        """Its class in words."""
        return CLASS_LABELS[self.priority]

    @property
    def others_ahead(self) -> int:
        """Jobs of other people that go before it."""
        if self.position is None or self.own is None:
            return 0
        return self.position - 1 - self.own.ahead


@dataclass(frozen=True)
class RunningLine:
    """What holds devices now. pk and name are None for who may not know whose it is."""

    pk: int | None
    name: str | None
    owner: str | None
    gpus: int
    eta_s: int | None
    node: str


@dataclass(frozen=True)
class ReservationLine:
    """A reservation as the person may know it: holder and reason are empty for who may not."""

    row: Reservation
    devices: list[str]
    holder: str
    reason: str


def waiting_list(*, user: User, only_own: bool) -> QuerySet[Instance]:
    """What waits, as far as it concerns the user, in the order in which it goes."""
    rows = job_instances(user=user).filter(state=State.QUEUED)
    if only_own:
        rows = rows.filter(owner=user)
    place = KeyTransform("position", "wait_detail")
    return rows.order_by(place.asc(nulls_last=True), "queued_at", "pk")


def waiting_columns(rows: QuerySet[Instance]) -> Any:
    """The columns of `waiting_lines`, to cut a page out of."""
    return rows.values_list(*_COLUMNS)


def waiting_lines(*, user: User, rows: Sequence[tuple[Any, ...]]) -> list[WaitingLine]:
    """Rows of `waiting_columns` in words; one query more if one of them is the user's own."""
    found = [dict(zip(_COLUMNS, values, strict=True)) for values in rows]
    places = own_places(user=user) if any(row["owner_id"] == user.pk for row in found) else {}
    return [_waiting(row, places) for row in found]


def own_places(*, user: User) -> dict[int, OwnPlace]:
    """Key -> place among the user's own waiting jobs; by class for moves, over all for what goes ahead."""
    rows = list(
        Instance.objects.filter(owner=user, state=State.QUEUED, deleted_at=None)
        .exclude(queued_at=None)
        .order_by("queue_rank", "queued_at", "id")
        .values_list("pk", "priority", "wait_detail")
    )
    classes: dict[PriorityClass, list[int]] = {}
    for pk, priority, _detail in rows:
        classes.setdefault(priority_class(priority), []).append(pk)
    firsts = {keys[0] for keys in classes.values()}
    lasts = {keys[-1] for keys in classes.values()}
    positions = sorted(
        position
        for _pk, _priority, detail in rows
        if (position := position_in(state=State.QUEUED, detail=detail)) is not None
    )
    ahead = {position: index for index, position in enumerate(positions)}
    return {
        pk: OwnPlace(
            is_first=pk in firsts,
            is_last=pk in lasts,
            ahead=ahead.get(position_in(state=State.QUEUED, detail=detail) or 0, 0),
        )
        for pk, _priority, detail in rows
    }


def _waiting(row: Mapping[str, Any], places: Mapping[int, OwnPlace]) -> WaitingLine:
    detail, reason = row["wait_detail"], row["wait_reason"]
    expected = detail.get("expected_at")
    return WaitingLine(
        pk=row["pk"],
        name=row["name"],
        owner_id=row["owner_id"],
        owner=row["owner__username"],
        gpus=row["gpus"],
        priority=priority_class(row["priority"]),
        position=position_in(state=State.QUEUED, detail=detail),
        starts_at=datetime.fromisoformat(expected) if expected else None,
        is_latest=bool(detail.get("expected_latest")),
        wait_text=reason_text(reason=reason, detail=detail) if reason else "",
        own=places.get(row["pk"]),
    )


def running_lines(*, user: User) -> list[RunningLine]:
    """What runs and holds devices, the first to end first; two queries."""
    rows = list(
        Instance.objects.filter(state__in=_ACTIVE, deleted_at=None)
        .order_by(F("eta_s").asc(nulls_last=True), "pk")
        .values_list("pk", "name", "owner__username", "gpus", "eta_s", "node__name")[:RUNNING_SHOWN]
    )
    listed = Instance.objects.filter(pk__in=[row[0] for row in rows])
    known = set(access.visible(user, listed).values_list("pk", flat=True))
    return [
        RunningLine(
            pk=pk if pk in known else None,
            name=name if pk in known else None,
            owner=owner if pk in known else None,
            gpus=gpus,
            eta_s=eta_s,
            node=node or "",
        )
        for pk, name, owner, gpus, eta_s, node in rows
    ]


def reservation_lines(*, user: User) -> list[ReservationLine]:
    """Those that have not ended, with the numbers of their devices."""
    rows = list(reservation_list()[:RESERVATIONS_SHOWN])
    known = reservations_known(user=user, rows=rows)
    labels = _device_labels({row.node_id for row in rows if row.devices})
    return [
        ReservationLine(
            row=row,
            devices=[labels.get((row.node_id, uuid), uuid[:13]) for uuid in row.devices],
            holder=row.holder if row.pk in known else "",
            reason=row.reason if row.pk in known else "",
        )
        for row in rows
    ]


def _device_labels(nodes: Iterable[int]) -> dict[tuple[int, str], str]:
    devices = Device.objects.filter(node__in=list(nodes))
    return {(device.node_id, device.uuid): device.numbered for device in devices}


def queue_totals(*, user: User) -> dict[str, int]:
    """How many wait and run, in all and of the user, beside the limits; two queries and those of the limits."""
    mine = Q(owner=user)
    jobs = Instance.objects.filter(deleted_at=None)
    waiting = jobs.filter(state=State.QUEUED).aggregate(
        all=Count("pk"), own=Count("pk", filter=mine)
    )
    running = jobs.filter(state__in=_ACTIVE).aggregate(
        all=Count("pk"), own=Count("pk", filter=mine)
    )
    cap_all, cap_own = caps_of(user=user)
    return {
        "all_waiting": waiting["all"],
        "own_waiting": waiting["own"],
        "all_running": running["all"],
        "own_running": running["own"],
        "cap_all": cap_all,
        "cap_own": cap_own,
    }


def class_choices() -> list[tuple[str, int, Promise]]:
    """(class, number that stands for it, label), the first to go first."""
    return [(str(one), NUMBERS[one], label) for one, label in CLASS_LABELS.items()]


def reservable(nodes: Iterable[Node]) -> list[dict[str, Any]]:
    """Nodes with their devices, for the form."""
    return [
        {
            "name": node.name,
            "devices": [
                {
                    "uuid": device.uuid,
                    "label": device.numbered,
                    "name": device.name,
                }
                for device in node.devices.all()
                if device.present
            ],
        }
        for node in nodes
    ]


def cap_text(cap: CapVerdict) -> str:
    """Whom a limit counts together."""
    whom = {
        Scope.ALL: _("Everybody together"),
        Scope.USER: _("This owner"),
        Scope.GROUP: _("Group %(name)s") % {"name": cap.subject},
    }.get(Scope(cap.scope), cap.scope)
    return f"{whom} · {cap.kind}" if cap.kind else whom


def verdict_text(node: NodeVerdict) -> str:
    """The first thing that keeps a job from a node; what speaks for it otherwise."""
    if node.fits:
        return _("Fits now")
    hindrances = (
        (not node.takes, _("Not reachable")),
        (node.cordoned, _("Cordoned")),
        (node.disk_low, _("Disk nearly full")),
        (node.avoided, _("It failed there")),
        (not node.means, _("Not what it asks for")),
        (bool(node.reserved), _("Reserved for others")),
    )
    return next((text for holds, text in hindrances if holds), _("Too few free"))
