"""The one writer of an instance's state: a guarded UPDATE with attempt fence, and an event row for each."""

from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from loraforge.accounts.models import User
from loraforge.core import events, live, outbox
from loraforge.core.errors import Conflict
from loraforge.instances.frames import status_frame
from loraforge.instances.models import Attempt, DeviceLease, Instance, InstanceEvent
from loraforge.instances.states import ACTIVE, ARROWS, TERMINAL, State, ends_attempt

PLACE_TASK = "scheduling.instances_place"


# How an attempt went; the next one begins without it.
_NOTHING_DONE: dict[str, Any] = {
    "started_at": None,
    "ended_at": None,
    "failure_reason": "",
    "failure_detail": "",
    "exit_code": None,
    "saved_step": None,
    "step": 0,
    "max_steps": 0,
    "loss": None,
    "eta_s": None,
}


def _times(target: State) -> dict[str, Any]:
    now = timezone.now()
    if target is State.QUEUED:
        return {"queued_at": now, **_NOTHING_DONE}
    if target is State.RUNNING:
        return {"started_at": now}
    if target in TERMINAL:
        return {"ended_at": now, "eta_s": None}
    return {}


@transaction.atomic
def instance_move(
    *,
    instance: Instance,
    target: State,
    attempt: int | None = None,
    sources: frozenset[State] | None = None,
    actor: User | None = None,
    reason: str = "",
    detail: str = "",
    **fields: Any,
) -> Instance:
    """Move an instance to ``target`` and return it as it is now.

    attempt: the number that the caller speaks of; an older one is refused (fencing). sources: narrows
    the states it may come from. fields: further columns, written in the same UPDATE. Raises Conflict
    (`instances:wrong_state`) when it is in no such state any more; nothing is changed then.
    """
    allowed = {source for source, targets in ARROWS.items() if target in targets}
    allowed &= sources if sources is not None else allowed
    number = instance.attempt if attempt is None else attempt
    before = Instance.objects.filter(pk=instance.pk).values_list("state", flat=True).first()
    changes = {**_times(target), **fields}
    if "started_at" in changes and instance.started_at is not None and target is State.RUNNING:
        del changes["started_at"]
    rows = Instance.objects.filter(
        pk=instance.pk,
        state=before,
        state__in=[str(state) for state in allowed],
        attempt=number,
        deleted_at=None,
    ).update(state=target, **changes)
    if not rows:
        raise Conflict(
            "instances:wrong_state",
            _("#%(number)s is %(state)s now, so this cannot be done. Reload the page.")
            % {"number": instance.pk, "state": before or _("deleted")},
        )
    instance.refresh_from_db()
    event = InstanceEvent.objects.create(
        instance=instance,
        attempt=instance.attempt,
        source=before or "",
        target=target,
        reason=reason,
        detail=detail,
        actor=actor,
    )
    if target in TERMINAL or ends_attempt(source=before or "", target=target):
        leases_release(instance=instance)
    outbox.frame_enqueue(live.topic_job(instance.pk), status_frame(instance))
    if target is State.QUEUED or (before in ACTIVE and target not in ACTIVE):
        outbox.task_enqueue(PLACE_TASK)
    events.emit(events.INSTANCE_MOVED, instance=instance, event=event)
    return instance


def leases_release(*, instance: Instance) -> None:
    """Free the devices of all attempts of this instance, but for those that are held beyond the end."""
    DeviceLease.objects.filter(attempt__instance=instance, released_at=None, is_held=False).update(
        released_at=timezone.now()
    )


def attempt_current(instance: Instance) -> Attempt | None:
    """The attempt whose number the instance carries."""
    return Attempt.objects.filter(instance=instance, number=instance.attempt).first()
