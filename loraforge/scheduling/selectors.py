"""Where a job would go, and what the queue looks like from one's place in it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from loraforge.accounts.models import User
from loraforge.billing.budgets import budgets_blocking
from loraforge.instances.models import DeviceLease, Instance
from loraforge.instances.states import ACTIVE, State
from loraforge.nodes.models import Device, DeviceKind, DiskLevel, Node, NodeState
from loraforge.scheduling.policy import Caps, Place, Placed, Slot, Waits, Want, decide
from loraforge.scheduling.reasons import reason_text

# Behind everything that waits: the preview is of a job submitted now.
_NEWEST = datetime(9999, 1, 1, tzinfo=UTC)
_PREVIEW_ID = 2**62


def waiting_list() -> QuerySet[Instance]:
    """The queue, in no particular order."""
    return Instance.objects.filter(state=State.QUEUED, deleted_at=None).exclude(queued_at=None)


def wants_of(instances: Iterable[Instance]) -> list[Want]:
    """What the policy needs to know of what waits, with the budgets that keep it from starting."""
    rows = list(instances)
    blocked = budgets_blocking(owners={row.owner_id for row in rows})
    return [want_of(row, budget_blocked=blocked.get(row.owner_id)) for row in rows]


def want_of(instance: Instance, *, budget_blocked: Mapping[str, Any] | None = None) -> Want:
    """What the policy needs to know of an instance."""
    if instance.queued_at is None:
        message = f"{instance} is queued since never"
        raise ValueError(message)
    return Want(
        id=instance.pk,
        owner=instance.owner_id,
        queued_at=instance.queued_at,
        gpus=instance.gpus,
        priority=instance.priority,
        node=instance.wanted_node_id,
        devices=tuple(instance.wanted_devices),
        avoids={int(node): bool(strictly) for node, strictly in instance.avoided_nodes.items()},
        budget_blocked=budget_blocked,
    )


def _why_blocked(device: Device) -> str:
    """The first of its marks that keeps it from jobs."""
    return next((str(mark["kind"]) for mark in device.marks if mark["blocks"]), "")


def places_now() -> list[Place]:
    """All nodes with the devices that are there; three queries."""
    held = set(DeviceLease.objects.filter(released_at=None).values_list("node_id", "device_uuid"))
    slots: dict[int, list[Slot]] = {}
    for device in Device.objects.filter(present=True).order_by("node_id", "index"):
        slot = Slot(
            uuid=device.uuid,
            is_gpu=device.kind == DeviceKind.GPU,
            free=(device.node_id, device.uuid) not in held and not device.blocked,
            number=device.index,
            blocked=_why_blocked(device) if (device.node_id, device.uuid) not in held else "",
        )
        slots.setdefault(device.node_id, []).append(slot)
    return [
        Place(
            id=node.pk,
            name=node.name,
            takes=node.state == NodeState.ONLINE,
            cordoned=node.cordoned,
            disk_low=node.disk_level == DiskLevel.LOW,
            slots=tuple(slots.get(node.pk, [])),
        )
        for node in Node.objects.exclude(state=NodeState.NEW)
    ]


def active_by_owner() -> Counter[int]:
    """owner id -> how many of theirs hold devices or are on the way to."""
    rows = Instance.objects.filter(state__in=[str(state) for state in ACTIVE])
    return Counter(rows.values_list("owner_id", flat=True))


def caps_now() -> Caps:
    """The caps by settings."""
    return Caps(total=settings.MAX_RUNNING, per_owner=settings.MAX_RUNNING_PER_USER)


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


def placement_preview(
    *,
    user: User,
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
        budget_blocked=budgets_blocking(owners=[user.pk]).get(user.pk),
    )
    places = places_now()
    decision = decide(
        wants=[*wants_of(waiting_list()), want],
        places=places,
        active=active_by_owner(),
        caps=caps_now(),
    )
    for placed in decision.placed:
        if placed.id == _PREVIEW_ID:
            free = {place.id: sum(slot.free for slot in place.slots) for place in places}
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


def queue_positions() -> dict[int, int]:
    """Instance id -> place in the queue, 1 = goes next; the database sorts as `policy.order_key` does."""
    ids = waiting_list().order_by("-priority", "queued_at", "id").values_list("pk", flat=True)
    return {pk: place for place, pk in enumerate(ids, start=1)}


def queue_position(*, instance: Instance) -> int | None:
    """The instance's place in the queue; None when it does not wait."""
    return queue_positions().get(instance.pk) if instance.state == State.QUEUED else None


def wait_text(*, instance: Instance) -> str:
    """Why this instance waits, as one sentence; empty when it does not wait or nobody has looked yet."""
    if instance.state != State.QUEUED or not instance.wait_reason:
        return ""
    return reason_text(reason=instance.wait_reason, detail=instance.wait_detail)
