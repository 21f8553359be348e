"""Reports in: what a node says of an attempt, and what that makes of its instance.

The node tells phases; one table here turns them into states. A report of an old attempt changes that
attempt only: the instance has gone on.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from msgspec import structs

from loraforge.artifacts.removals import removal_answered
from loraforge.core import live, outbox
from loraforge.core.texts import storable
from loraforge.gateway.ending import Ending, judge
from loraforge.gateway.failures import failure_find
from loraforge.instances import preparing
from loraforge.instances.frames import status_frame
from loraforge.instances.models import Attempt, InstanceEvent
from loraforge.instances.states import ACTIVE, State, is_allowed
from loraforge.instances.transitions import instance_move
from loraforge.nodes.gpus import devices_dirty
from loraforge.telemetry import policy
from loraforge.telemetry.models import LogChunk, TrainerEvent
from loraforge.training import recovery
from nodeagent.contract.normalise import normalise
from nodeagent.contract.phases import Outcome, Phase
from nodeagent.contract.reports import CommandResult, PhaseChange

log = logging.getLogger(__name__)

STATE_OF_PHASE: dict[Phase, State] = {
    Phase.ACCEPTED: State.PREPARING,
    Phase.PREPARING: State.PREPARING,
    Phase.STARTING: State.PREPARING,
    Phase.RUNNING: State.RUNNING,
    Phase.FINISHING: State.FINISHING,
}  # ENDED and REFUSED are judged

_TIME_OF_PHASE = {
    Phase.ACCEPTED: "preparing_at",
    Phase.PREPARING: "preparing_at",
    Phase.RUNNING: "running_at",
    Phase.ENDED: "ended_at",
    Phase.REFUSED: "ended_at",
}
STOPPED_BEFORE_START = "command:stopped_before_start"
INTERRUPTED = "node:interrupted"  # it was told to stop by somebody else than the platform
TAIL_BYTES = 128 * 1024
REASON_LENGTH = 60
CLOCK_SLACK = timedelta(seconds=2)  # nodes join with so much at most
LAST_MOMENT = 4_102_444_800.0  # the year 2100


@transaction.atomic
def phase_apply(*, attempt: Attempt, change: PhaseChange, seq: int, at: float) -> None:
    """Take over a phase. seq: its number in the node's journal; an older word is dropped."""
    attempt = (
        Attempt.objects.select_for_update().select_related("instance", "node").get(pk=attempt.pk)
    )
    if seq <= attempt.phase_seq:
        return
    change = structs.replace(
        change, reason=storable(change.reason, length=REASON_LENGTH), detail=storable(change.detail)
    )
    is_note = bool(change.reason) and change.phase == attempt.phase and not change.phase.is_final
    _attempt_store(attempt=attempt, change=change, seq=seq, at=at)
    devices_dirty(node=attempt.node, dirty=change.dirty)
    if is_note:
        note_store(attempt=attempt, reason=change.reason, detail=change.detail)
        return
    if attempt.number != attempt.instance.attempt or attempt.instance.deleted_at is not None:
        return
    if change.phase.is_final:
        _end(attempt=attempt, change=change)
    elif not state_follow(attempt=attempt, detail=change.detail) and change.steps:
        instance = attempt.instance  # as far as before, and getting ready goes on
        outbox.frame_enqueue(live.topic_job(instance.pk), status_frame(instance))


def _attempt_store(*, attempt: Attempt, change: PhaseChange, seq: int, at: float) -> None:
    fields: dict[str, Any] = {"phase": change.phase, "phase_seq": seq}
    column = _TIME_OF_PHASE.get(change.phase)
    if column and getattr(attempt, column) is None:
        fields[column] = _moment(attempt, at)
    if steps := preparing.steps_plain(change.steps):
        fields["steps"] = {**attempt.steps, **steps}
    if change.pid is not None:
        fields["pid"] = change.pid
    if change.phase is Phase.FINISHING or change.phase.is_final:
        fields |= {"exit_code": change.exit_code, "killed_by": change.killed_by}
    if change.phase.is_final:
        fields["outcome"] = change.outcome
    Attempt.objects.filter(pk=attempt.pk).update(**fields)
    for name, value in fields.items():
        setattr(attempt, name, value)


def _moment(attempt: Attempt, at: float) -> datetime:
    """When the node says that it was; now, when its clock cannot be right.

    A report may come late, so the node's word counts as long as it lies in the attempt's own time.
    """
    now = timezone.now()
    if not 0 < at <= LAST_MOMENT:
        return now
    told = datetime.fromtimestamp(at, UTC)
    return told if attempt.assigned_at - CLOCK_SLACK <= told <= now + CLOCK_SLACK else now


def note_store(*, attempt: Attempt, reason: str, detail: str) -> None:
    """Something worth telling that changes no state."""
    InstanceEvent.objects.create(
        instance_id=attempt.instance_id,
        attempt=attempt.number,
        reason=storable(reason, length=REASON_LENGTH),
        detail=storable(detail),
    )


def state_follow(*, attempt: Attempt, detail: str = "") -> bool:
    """Give the instance the state that its attempt's phase means; False when it has it, or may not.

    A stop that was asked for stays STOPPING until the end, also after the node was away.
    """
    instance = attempt.instance
    if not attempt.phase or Phase(attempt.phase).is_final:
        return False
    target = STATE_OF_PHASE[Phase(attempt.phase)]
    if attempt.stop_requested:
        target = State.STOPPING
    source = State(instance.state)
    if source is target or not is_allowed(source=source, target=target):
        return False
    instance_move(
        instance=instance,
        target=target,
        attempt=attempt.number,
        sources=frozenset({source}),
        detail=detail,
    )
    return True


def _end(*, attempt: Attempt, change: PhaseChange) -> None:
    """The last word of an attempt: judge it, say why, free its devices (the move does)."""
    instance = attempt.instance
    if State(instance.state) not in ACTIVE:
        log.info("%s ended, but its instance is %s already", attempt, instance.state)
        return
    ending = Ending(
        exit_code=change.exit_code,
        killed_by=change.killed_by,
        outcome=change.outcome,
        reason="" if change.reason == STOPPED_BEFORE_START else change.reason,
        detail=change.detail,
        stop=attempt.stop_requested,
    )
    verdict = judge(ending)
    fields: dict[str, Any] = {"exit_code": change.exit_code}
    if verdict.saved:
        fields["saved_step"] = _saved_step(attempt)
    reason, detail = "", ""
    if verdict.state is State.FAILED:
        reason, detail = _why(attempt, ending)
        if failure_answer(attempt=attempt, reason=reason, detail=detail):
            return
        fields |= {"failure_reason": reason, "failure_detail": detail}
    elif verdict.state is State.STOPPED and attempt.stop_reason:
        reason = attempt.stop_reason
        fields["failure_reason"] = reason
    instance_move(
        instance=instance,
        target=verdict.state,
        attempt=attempt.number,
        reason=reason,
        detail=detail,
        **fields,
    )


def _why(attempt: Attempt, ending: Ending) -> tuple[str, str]:
    if ending.outcome is Outcome.STOPPED and not ending.reason:
        return INTERRUPTED, ending.detail
    failure = failure_find(ending=ending, lines=log_last_lines(attempt))
    return failure.reason[:REASON_LENGTH], failure.detail


def failure_answer(*, attempt: Attempt, reason: str, detail: str) -> bool:
    """Keep with the attempt why it failed. True when the system makes the next attempt by itself."""
    known = {"failure_reason": reason, "failure_detail": detail}
    Attempt.objects.filter(pk=attempt.pk).update(**known)
    return recovery.attempt_recover(attempt=attempt, reason=reason, detail=detail)


def log_last_lines(attempt: Attempt) -> list[str]:
    """The end of what is stored of its console, as lines."""
    taken: list[bytes] = []
    size = 0
    for data in (
        LogChunk.objects.filter(attempt=attempt)
        .order_by("-start")
        .values_list("data", flat=True)[:64]
    ):
        taken.append(bytes(data))
        size += len(taken[-1])
        if size >= TAIL_BYTES:
            break
    return normalise(b"".join(reversed(taken))[-TAIL_BYTES:])


def _saved_step(attempt: Attempt) -> int | None:
    """The step of the trainer's closing event, if it left a checkpoint."""
    event = TrainerEvent.objects.filter(attempt=attempt, name="stopped").order_by("-start").first()
    values = event.values if event is not None else {}
    return policy.step_of(values.get("step")) if values.get("checkpoint") else None


def result_apply(*, attempt: Attempt, result: CommandResult) -> None:
    """A refused command is worth an event; a done one shows by its effects."""
    if result.kind == "remove":
        removal_answered(attempt=attempt, error=result.error)
    if result.error:
        log.warning("%s refused by the node: %s %s", result.command, result.error, result.message)
        note_store(attempt=attempt, reason=result.error, detail=f"{result.kind}: {result.message}")


@transaction.atomic
def attempt_fail(*, attempt: Attempt, reason: str, detail: str) -> bool:
    """Give an active instance up whose attempt can neither start nor be found; False when it has gone on."""
    instance = attempt.instance
    instance.refresh_from_db()
    if attempt.number != instance.attempt or State(instance.state) not in ACTIVE:
        return False
    reason, detail = storable(reason, length=REASON_LENGTH), storable(detail)
    Attempt.objects.filter(pk=attempt.pk, ended_at=None).update(ended_at=timezone.now())
    if failure_answer(attempt=attempt, reason=reason, detail=detail):
        return True
    target = State.STOPPED if attempt.stop_requested else State.FAILED
    fields: dict[str, Any] = (
        {} if target is State.STOPPED else {"failure_reason": reason, "failure_detail": detail}
    )
    instance_move(
        instance=instance,
        target=target,
        attempt=attempt.number,
        reason=reason,
        detail=detail,
        **fields,
    )
    return True
