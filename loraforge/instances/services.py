"""Writes of instances: what people ask for, and what the scheduler decides."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from django.db import transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core import audit, events, outbox
from loraforge.core.errors import Conflict, Invalid
from loraforge.instances.models import Attempt, DeviceLease, Instance, Kind
from loraforge.instances.priorities import PRIORITY_LIMIT
from loraforge.instances.states import MOVED, RESTING, RETRYABLE, STOPPABLE, State
from loraforge.instances.transitions import instance_move
from loraforge.nodes.models import Node, NodeState

StopMode = Literal["save", "now"]

START_TASK = "gateway.start_send"
STOP_TASK = "gateway.stop_send"
CHECKPOINT_TASK = "gateway.checkpoint_send"
REMOVE_TASK = "gateway.remove_send"


@transaction.atomic
def instance_create(
    *,
    actor: User,
    owner: User,
    name: str,
    gpus: int = 1,
    processes: int = 1,
    wanted_node: Node | None = None,
    wanted_devices: Sequence[str] = (),
    priority: int = 0,
    tags: Sequence[str] = (),
    notes: str = "",
    kind: Kind = Kind.JOB,
) -> Instance:
    """A new instance in DRAFT.

    gpus: devices wanted; named devices replace the number. Raises Denied when the actor may not create,
    asks for a priority or acts for another owner without being an operator, Invalid for bad numbers.
    """
    access.require(actor, Action.CREATE)
    if owner != actor:
        access.require(actor, Action.OPERATE)
    wish = _wish(gpus=gpus, processes=processes, node=wanted_node, devices=wanted_devices)
    _priority_check(actor=actor, before=0, after=priority)
    instance = Instance.objects.create(
        owner=owner,
        kind=kind,
        name=name.strip() or _("Job"),
        **wish,
        priority=priority,
        tags=list(tags),
        notes=notes,
    )
    instance.refresh_from_db()
    audit.record(actor=actor, target=instance, what="instances:create")
    return instance


def _wish(
    *, gpus: int, processes: int, node: Node | None, devices: Sequence[str]
) -> dict[str, Any]:
    """The columns of what an instance asks for; named devices replace the number. Raises Invalid."""
    named = list(dict.fromkeys(devices))
    wanted = len(named) or gpus
    if wanted < 1 or not 1 <= processes <= wanted:
        raise Invalid(
            "instances:bad_devices",
            _("Ask for at least one device, and for no more processes than devices."),
            fields={"gpus": [_("At least 1, and at least as many as processes.")]},
        )
    return {"gpus": wanted, "processes": processes, "wanted_node": node, "wanted_devices": named}


def _plain(value: Any) -> Any:
    """As the audit log keeps it."""
    return value.name if isinstance(value, Node) else value


@transaction.atomic
def instance_wish(
    *,
    actor: User,
    instance: Instance,
    gpus: int,
    processes: int,
    wanted_node: Node | None = None,
    wanted_devices: Sequence[str] = (),
) -> Instance:
    """Change what a draft asks for. Raises Conflict once it is not a draft, Invalid as `instance_create`."""
    access.require(actor, Action.CHANGE, instance)
    wish = _wish(gpus=gpus, processes=processes, node=wanted_node, devices=wanted_devices)
    changes = {
        key: [_plain(getattr(instance, key)), _plain(value)]
        for key, value in wish.items()
        if getattr(instance, key) != value
    }
    if not Instance.objects.filter(pk=instance.pk, state=State.DRAFT).update(**wish):
        raise Conflict(
            "instances:wrong_state",
            _("#%(number)s was changed meanwhile.") % {"number": instance.pk},
        )
    instance.refresh_from_db()
    audit.record(actor=actor, target=instance, what="instances:wish", changes=changes)
    return instance


def _priority_check(*, actor: User, before: int, after: int) -> None:
    if after == before:
        return
    if abs(after) > PRIORITY_LIMIT:
        raise Invalid(
            "instances:bad_priority",
            _("The priority is a number from -100 to 100."),
            fields={"priority": [_("From -100 to 100.")]},
        )
    # Lowering one's own is a courtesy to others; raising is the operators' decision.
    if after > before:
        access.require(actor, Action.OPERATE)


@transaction.atomic
def instance_queue(
    *,
    actor: User | None,
    instance: Instance,
    reason: str = "",
    detail: str = "",
    step: int = 0,
    max_steps: int = 0,
) -> Instance:
    """DRAFT (or an ended one, for its next attempt) -> QUEUED. Raises Conflict from any other state.

    actor None = the platform itself. What the system tried by itself before is over: it counts anew.
    step, max_steps: where it will go on; 0 = from the beginning.
    """
    if actor is not None:
        access.require(actor, Action.CHANGE, instance)
    moved = instance_move(
        instance=instance,
        target=State.QUEUED,
        sources=RETRYABLE | {State.DRAFT},
        actor=actor,
        reason=reason,
        detail=detail,
        wait_reason="",
        wait_detail={},
        step=step,
        max_steps=max_steps,
        retries=0,
        avoided_nodes={},
        queue_rank=0,
    )
    audit.record(actor=actor, target=moved, what="instances:queue")
    return moved


@transaction.atomic
def instance_withdraw(*, actor: User, instance: Instance) -> Instance:
    """QUEUED -> DRAFT: nothing ran, nothing is lost."""
    access.require(actor, Action.CHANGE, instance)
    moved = instance_move(
        instance=instance,
        target=State.DRAFT,
        sources=frozenset({State.QUEUED}),
        actor=actor,
        queued_at=None,
        wait_reason="",
        wait_detail={},
    )
    audit.record(actor=actor, target=moved, what="instances:withdraw")
    return moved


@transaction.atomic
def instance_stop(
    *, actor: User | None, instance: Instance, mode: StopMode = "save", reason: str = ""
) -> Instance:
    """End it: QUEUED -> STOPPED at once, an active one -> STOPPING and a command to its node.

    mode: "save" asks for a checkpoint first, "now" does not wait; "now" may follow "save". actor None
    = the platform itself, which says its ``reason``. Raises Conflict when nothing is there to stop.
    """
    if actor is not None:
        access.require(actor, Action.CHANGE, instance)
    # Whoever gives it a device at this moment is waited for: it is stopped then too, not refused.
    instance.refresh_from_db(from_queryset=Instance.objects.select_for_update())
    if instance.state == State.QUEUED:
        instance = instance_move(
            instance=instance,
            target=State.STOPPED,
            sources=frozenset({State.QUEUED}),
            actor=actor,
            reason="user:withdrawn_before_start",
            wait_reason="",
            wait_detail={},
        )
    elif instance.state == State.STOPPING:
        if actor is not None:  # then it goes on nowhere
            own = Attempt.objects.filter(instance=instance, number=instance.attempt)
            own.filter(stop_reason=MOVED).update(stop_reason="")
        _stop_ask(instance=instance, mode=mode)
    else:
        instance = instance_move(
            instance=instance,
            target=State.STOPPING,
            sources=STOPPABLE,
            actor=actor,
            reason=reason or f"user:stop_{mode}",
        )
        _stop_ask(instance=instance, mode=mode, reason=reason)
    audit.record(actor=actor, target=instance, what=f"instances:stop_{mode}")
    return instance


def _stop_ask(*, instance: Instance, mode: StopMode, reason: str = "") -> None:
    rows = Attempt.objects.filter(instance=instance, number=instance.attempt)
    if mode == "save":
        rows = rows.exclude(stop_requested="now")
    told = {"stop_requested": mode, **({"stop_reason": reason} if reason else {})}
    if rows.update(**told):
        outbox.task_enqueue(STOP_TASK, instance_id=instance.pk, attempt=instance.attempt, mode=mode)


@transaction.atomic
def instance_give_up(*, actor: User, instance: Instance) -> Instance:
    """UNKNOWN -> LOST: nobody waits for its node any more, its devices count as free.

    Operators may at any time, the owner once the node itself counts as lost. Should the node return
    with it still running, it is stopped there. Raises Conflict for any other state.
    """
    access.require(actor, Action.CHANGE, instance)
    instance.refresh_from_db()
    if instance.node is None or instance.node.state != NodeState.LOST:
        access.require(actor, Action.OPERATE)
    moved = instance_move(
        instance=instance,
        target=State.LOST,
        sources=frozenset({State.UNKNOWN}),
        actor=actor,
        reason="node:given_up",
        failure_reason="node:given_up",
    )
    audit.record(actor=actor, target=moved, what="instances:give_up")
    return moved


@transaction.atomic
def instance_checkpoint(*, actor: User, instance: Instance) -> None:
    """Ask the node to save a checkpoint and go on. Raises Conflict unless it is running."""
    access.require(actor, Action.CHANGE, instance)
    instance.refresh_from_db()
    if instance.state != State.RUNNING:
        raise Conflict(
            "instances:not_running",
            _("Only a running job can save a checkpoint. Wait until it runs."),
        )
    outbox.task_enqueue(
        CHECKPOINT_TASK,
        instance_id=instance.pk,
        attempt=instance.attempt,
        request=uuid.uuid4().hex,  # made here: a message that comes twice is one request
    )
    audit.record(actor=actor, target=instance, what="instances:checkpoint")


@transaction.atomic
def instance_assign(*, instance: Instance, node: Node, devices: Sequence[str]) -> Attempt:
    """Give a queued instance its devices and its next attempt, and have the node told.

    Raises Conflict when it is not queued any more, IntegrityError when a device was taken meanwhile;
    nothing is changed then (call it in a savepoint).
    """
    number = instance.attempt + 1
    # The number is the fence, so it is raised first, guarded by the old one.
    if not Instance.objects.filter(pk=instance.pk, attempt=instance.attempt).update(attempt=number):
        raise Conflict(
            "instances:wrong_state",
            _("#%(number)s was changed meanwhile.") % {"number": instance.pk},
        )
    attempt = Attempt.objects.create(
        instance=instance,
        number=number,
        node=node,
        devices=list(devices),
        queued_at=_waits_since(instance),
    )
    DeviceLease.objects.bulk_create(
        DeviceLease(node=node, device_uuid=device, attempt=attempt) for device in devices
    )
    instance_move(
        instance=instance,
        target=State.ASSIGNED,
        attempt=number,
        sources=frozenset({State.QUEUED}),
        node=node,
        wait_reason="",
        wait_detail={},
    )
    outbox.task_enqueue(START_TASK, instance_id=instance.pk, attempt=number)
    return attempt


def _waits_since(instance: Instance) -> datetime | None:
    """An attempt that the system makes keeps its place in the queue, yet waits only since the last has ended."""
    ended = Attempt.objects.filter(instance=instance).aggregate(at=Max("ended_at"))["at"]
    moments = [at for at in (instance.queued_at, ended) if at is not None]
    return max(moments, default=None)


@transaction.atomic
def instance_update(
    *,
    actor: User,
    instance: Instance,
    name: str | None = None,
    tags: Sequence[str] | None = None,
    notes: str | None = None,
    keep: bool | None = None,
    priority: int | None = None,
) -> Instance:
    """Change what may change at any time; None leaves a thing as it is. Only operators raise the priority."""
    access.require(actor, Action.CHANGE, instance)
    if priority is not None:
        _priority_check(actor=actor, before=instance.priority, after=priority)
    wanted: dict[str, Any] = {
        "name": name.strip() if name is not None else None,
        "tags": list(tags) if tags is not None else None,
        "notes": notes,
        "keep": keep,
        "priority": priority,
    }
    changes = {
        key: [getattr(instance, key), value]
        for key, value in wanted.items()
        if value is not None and getattr(instance, key) != value
    }
    if changes.get("name") and not changes["name"][1]:
        raise Invalid(
            "instances:no_name",
            _("Give it a name."),
            fields={"name": [_("This may not be empty.")]},
        )
    if not changes:
        return instance
    # Only these columns: a state written meanwhile by the gateway must not be overwritten.
    Instance.objects.filter(pk=instance.pk).update(
        **{key: pair[1] for key, pair in changes.items()}
    )
    instance.refresh_from_db()
    audit.record(actor=actor, target=instance, what="instances:update", changes=changes)
    return instance


@transaction.atomic
def instance_delete(*, actor: User, instance: Instance, files: bool) -> None:
    """Delete an instance that rests; ``files`` also has its files removed (artifacts does), else age does.

    Raises Conflict while it is queued or active.
    """
    access.require(actor, Action.CHANGE, instance)
    now = timezone.now()
    deleted = Instance.objects.filter(
        pk=instance.pk, state__in=[str(state) for state in RESTING], deleted_at=None
    ).update(deleted_at=now, keep=False)  # nobody could ever give it free again
    if not deleted:
        raise Conflict(
            "instances:not_resting",
            _("#%(number)s is still queued or at work. Stop or withdraw it first, then delete it.")
            % {"number": instance.pk},
        )
    instance.refresh_from_db()
    audit.record(
        actor=actor,
        target=instance,
        what="instances:delete_with_files" if files else "instances:delete",
        changes={"deleted_at": [None, now.isoformat()]},
    )
    events.emit(events.INSTANCE_DELETED, instance=instance, files=files)
