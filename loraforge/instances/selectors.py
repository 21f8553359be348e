"""Reads of instances, filtered by what the asker may see."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.models import User
from loraforge.core.columns import columns_read
from loraforge.core.errors import NotFound
from loraforge.instances.models import Attempt, DeviceLease, Instance
from loraforge.nodes.models import Node

Asker = User | AnonymousUser


def instance_list(*, user: Asker) -> QuerySet[Instance]:
    """What the user may see and is not deleted, newest first, with owner and node."""
    rows = Instance.objects.filter(deleted_at=None)
    return access.visible(user, rows).select_related("owner", "node", "wanted_node")


def instance_get(*, user: Asker, instance_id: int) -> Instance:
    """One instance. Raises NotFound when it is not there, deleted, or none of the user's business."""
    instance = instance_list(user=user).filter(pk=instance_id).first()
    if instance is None:
        raise job_missing(instance_id)
    return instance


def job_missing(number: object) -> NotFound:
    """What every address below a job answers where it is not there, deleted, or none of the user's business."""
    text = _("There is no job #%(number)s.") % {"number": number}
    return NotFound("instances:not_found", text)


def attempt_list(*, instance: Instance) -> QuerySet[Attempt]:
    """All attempts of an instance that the caller already may see, first to last."""
    return Attempt.objects.filter(instance=instance).select_related("node").order_by("number")


@dataclass(frozen=True)
class Holder:
    """Who holds a device. Everything but the fact itself is None for those who may not know."""

    instance_id: int | None
    name: str | None
    owner: str | None


_HOLDER = (
    "node_id",
    "device_uuid",
    "attempt__instance_id",
    "attempt__instance__name",
    "attempt__instance__owner__username",
)


def device_holders(*, user: Asker, nodes: Iterable[Node]) -> dict[tuple[int, str], Holder]:
    """(node id, device uuid) -> holder, for each device held now; one or two queries however many nodes."""
    leases = DeviceLease.objects.filter(node__in=list(nodes), released_at=None)
    held = columns_read(leases.order_by(), _HOLDER)
    if not held:
        return {}
    rows = Instance.objects.filter(pk__in={instance_id for _node, _uuid, instance_id, *_ in held})
    known = set(access.visible(user, rows).values_list("pk", flat=True))
    return {
        (node_id, uuid): Holder(instance_id=instance_id, name=name, owner=owner)
        if instance_id in known
        else Holder(instance_id=None, name=None, owner=None)
        for node_id, uuid, instance_id, name, owner in held
    }
