"""Where a job would go, and what the queue looks like from one's place in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils.translation import gettext as _

from loraforge.accounts.models import User
from loraforge.instances.models import Instance
from loraforge.instances.states import State
from loraforge.nodes.models import Device, Node
from loraforge.scheduling import services
from loraforge.scheduling.policy import Placed, Waits, Want, decide, order_key
from loraforge.scheduling.reasons import reason_text

# Behind everything that waits: the preview is of a job submitted now.
_NEWEST = datetime(9999, 1, 1, tzinfo=UTC)
_PREVIEW_ID = 2**62


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
    )
    places = services.places_now()
    decision = decide(
        wants=[*(services.want_of(row) for row in services.waiting_list()), want],
        places=places,
        active=services.active_by_owner(),
        caps=services.caps_now(),
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
    text = _("%(node)s: %(free)s free now, the best fit for %(count)s.") % {
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
    """1 = goes next; None when it does not wait."""
    if instance.state != State.QUEUED or instance.queued_at is None:
        return None
    wants = sorted((services.want_of(row) for row in services.waiting_list()), key=order_key)
    return next(
        (place for place, want in enumerate(wants, start=1) if want.id == instance.pk), None
    )


def wait_text(*, instance: Instance) -> str:
    """Why this instance waits, as one sentence; empty when it does not wait or nobody has looked yet."""
    if instance.state != State.QUEUED or not instance.wait_reason:
        return ""
    return reason_text(reason=instance.wait_reason, detail=instance.wait_detail)
