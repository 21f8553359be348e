"""The queue as placing reads it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import QuerySet

from loraforge.core.columns import columns_read
from loraforge.instances.models import Instance
from loraforge.instances.states import State
from loraforge.scheduling.facts import Want
from loraforge.scheduling.having import model_wanted


class Waiting(NamedTuple):
    """What placing reads of a row of the queue; thousands of whole ones would take longer than the decision."""

    pk: int
    owner_id: int
    queued_at: datetime
    gpus: int
    priority: int
    wanted_node_id: int | None
    wanted_devices: list[str]
    avoided_nodes: dict[str, bool]
    queue_rank: int
    kind: str
    command: str | None
    run_limit_s: int | None
    wait_reason: str
    wait_detail: dict[str, Any]
    model: str | None
    model_hub: str | None
    model_revision: str | None


_OF_JOB = ("command", "run_limit_s", "model", "model_hub", "model_revision")
_WAITING = [f"job__{name}" if name in _OF_JOB else name for name in Waiting._fields]


def waiting_list() -> list[Waiting]:
    """The queue, in no particular order; one query."""
    rows = Instance.objects.filter(state=State.QUEUED, deleted_at=None)
    return as_waiting(rows.exclude(queued_at=None))


def as_waiting(rows: QuerySet[Instance]) -> list[Waiting]:
    """Instances as rows of the queue, in no particular order; one query."""
    return [Waiting(*values) for values in columns_read(rows.order_by(), _WAITING)]


def kinds_of(kind: str, command: str | None) -> tuple[str, ...]:
    """What caps may count it by."""
    return (kind, command) if command else (kind,)


def want_of(instance: Waiting, groups: Mapping[int, tuple[str, ...]] | None = None) -> Want:
    """What the policy needs to know of a row of the queue; groups: those that caps count."""
    return Want(
        id=instance.pk,
        owner=instance.owner_id,
        queued_at=instance.queued_at,
        gpus=instance.gpus,
        priority=instance.priority,
        node=instance.wanted_node_id,
        devices=tuple(instance.wanted_devices),
        avoids={int(node): bool(strictly) for node, strictly in instance.avoided_nodes.items()},
        rank=instance.queue_rank,
        groups=(groups or {}).get(instance.owner_id, ()),
        kinds=kinds_of(instance.kind, instance.command),
        longest_s=instance.run_limit_s or None,
        model=model_wanted(
            hub=instance.model_hub, model=instance.model, revision=instance.model_revision
        ),
    )
