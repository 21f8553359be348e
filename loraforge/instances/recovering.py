"""The system's own next attempt of an instance that the node or the platform failed."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from loraforge.core import audit
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.states import ACTIVE, State
from loraforge.instances.transitions import instance_move


@transaction.atomic
def instance_recover(
    *, attempt: Attempt, reason: str, detail: str, avoid: Mapping[int, bool], step: int = 0
) -> Instance:
    """An active instance whose attempt has ended -> QUEUED, for its next attempt.

    It keeps its place in the queue: ``queued_at`` stays. avoid: as `Instance.avoided_nodes`, for further
    nodes. reason, detail: why the attempt ended. step: where the next one goes on, 0 = from the beginning.
    Raises Conflict when it has gone on, or is STOPPING: what a person has ended stays ended.
    """
    instance = attempt.instance
    kept: dict[str, Any] = {"queued_at": instance.queued_at or timezone.now()}
    moved = instance_move(
        instance=instance,
        target=State.QUEUED,
        attempt=attempt.number,
        sources=ACTIVE - {State.STOPPING},
        reason=reason,
        detail=detail,
        retries=instance.retries + 1,
        avoided_nodes={
            **instance.avoided_nodes,
            **{str(node): strictly for node, strictly in avoid.items()},
        },
        wait_reason="",
        wait_detail={},
        step=step,
        max_steps=instance.max_steps if step else 0,
        **kept,
    )
    audit.record(
        actor=None,
        target=moved,
        what="instances:recover",
        changes={"retries": [moved.retries - 1, moved.retries]},
    )
    return moved
