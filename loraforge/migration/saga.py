"""The move of a running training, step by step. Each step's effects and its end are one transaction.

Whoever dies in the middle of a step leaves nothing of it, and the next look does it again. Commands leave
by the outbox, under ids that follow from what they mean. Two looks at once wait for each other's row.
"""

import logging
from collections.abc import Callable

from django.conf import settings
from django.db import IntegrityError, transaction

from loraforge.artifacts.models import ResultSaving
from loraforge.artifacts.removals import moved_files_remove
from loraforge.artifacts.selectors import checkpoint_list
from loraforge.core import outbox
from loraforge.core.errors import Conflict
from loraforge.instances.models import Attempt
from loraforge.instances.moving import devices_hold, devices_let_go, instance_switch
from loraforge.instances.services import CHECKPOINT_TASK, instance_stop
from loraforge.instances.states import ACTIVE, MOVED, State
from loraforge.migration.models import Migration
from loraforge.migration.moves import OVER, Ends, Move, fails
from loraforge.migration.needs import needs_of
from loraforge.migration.selectors import target_choose
from loraforge.migration.states import ORDER, Ending, Step
from loraforge.nodes.models import NodeState
from loraforge.training.launch import Resume, resume_store
from loraforge.training.resuming import resume_find

log = logging.getLogger(__name__)

STAGE_TASK = "gateway.stage_send"
TRAINS = frozenset({State.RUNNING, State.UNKNOWN})


def migration_run(*, migration_id: int) -> None:
    """As far as it comes now, each step in a transaction of its own."""
    for _step in range(2 * len(ORDER)):
        if not migration_step(migration_id=migration_id):
            return


@transaction.atomic
def migration_step(*, migration_id: int) -> bool:
    """Look at the step it is in; True when it went on to the next one."""
    rows = Migration.objects.select_for_update(of=("self",)).select_related("source", "target")
    row = rows.filter(pk=migration_id, state=Ending.ACTIVE).first()
    if row is None:
        return False
    move = Move(row)
    try:
        following = _STEPS[Step(row.step)](move)
    except Ends as end:
        move.end(end)
        return False
    if following is not None:
        move.go_to(following)
    return following is not None


# --- until the source is stopped ---------------------------------------------------------------------------


def _at_source(move: Move) -> None:
    """The source's attempt trains, and nobody has ended it. Raises Ends."""
    if move.row.error:
        raise Ends(Ending.CANCELLED, move.row.error)
    if move.instance.deleted_at is not None or move.instance.attempt != move.row.source_attempt:
        raise Ends(Ending.CANCELLED, "migration:gone_on")
    if move.state not in TRAINS:
        raise Ends(Ending.CANCELLED, "migration:ended_before", str(move.state))


def _freeze(move: Move) -> Step | None:
    _at_source(move)
    row = move.row
    found = resume_find(job=move.job)
    is_new = (
        found is not None and found.attempt == row.source_attempt and found.step >= row.from_step
    )
    if not is_new and not move.waits_longer(settings.MIGRATION_FREEZE_S):
        if move.state is State.RUNNING and move.is_ask_due():
            _checkpoint_ask(move, attempt=row.source_attempt, word="freeze")
        return None
    if found is None:
        raise fails("migration:no_checkpoint")
    _pin(move, found)
    return Step.COPY


def _checkpoint_ask(move: Move, *, attempt: int, word: str) -> None:
    outbox.task_enqueue(
        CHECKPOINT_TASK,
        instance_id=move.instance.pk,
        attempt=attempt,
        request=f"migration{move.row.pk}{word}",
    )


def _pin(move: Move, resume: Resume) -> None:
    """From now on it is about this checkpoint."""
    needs = needs_of(job=move.job, attempt=move.source_attempt, resume=resume)
    move.update(
        checkpoint_attempt=resume.attempt,
        checkpoint_step=resume.step,
        total_bytes=needs.size_bytes,
        digest=needs.digest,
        copied_bytes=0,
        staged_digest="",
        staged_error="",
        staged_detail="",
        staged_at=None,
        asked_at=None,
    )


def _copy(move: Move) -> Step | None:
    _at_source(move)
    return Step.VERIFY if _is_copied(move) else None


def _is_copied(move: Move) -> bool:
    """The target says that it has it all. Has it told otherwise; raises Ends when nothing comes any more."""
    if move.row.staged_digest:
        return True
    if move.waits_longer(settings.MIGRATION_STALL_S, since_progress=True):
        reason = move.row.staged_error or "migration:stalled"
        raise fails(reason, move.row.staged_detail)
    if move.is_ask_due():
        outbox.task_enqueue(STAGE_TASK, migration_id=move.row.pk)
    return False


def _verify(move: Move) -> Step | None:
    _at_source(move)
    if not move.row.is_staged:
        raise fails("migration:copy_differs")
    return Step.RESERVE


def _reserve(move: Move) -> Step | None:
    _at_source(move)
    try:
        placed = target_choose(
            instance=move.instance, source=move.row.source, wanted=move.row.target
        )
        with transaction.atomic():
            devices_hold(
                attempt=move.source_attempt,
                devices=placed.devices,
                node_id=placed.node,
            )
    except (Conflict, IntegrityError) as error:
        if move.waits_longer(settings.MIGRATION_RESERVE_S):
            raise fails("migration:no_target", str(error)) from error
        return None
    move.update(target_devices=list(placed.devices))
    return Step.STOP


# --- the hand-over -------------------------------------------------------------------------------------------


def _stop(move: Move) -> Step | None:
    attempt = move.source_attempt
    if not attempt.stop_requested:
        _at_source(move)
        if move.state is State.RUNNING:
            instance_stop(actor=None, instance=move.instance, mode="save", reason=MOVED)
        elif move.waits_longer(settings.MIGRATION_STALL_S):
            raise fails("migration:source_away")
        return None
    _not_a_persons(move, attempt)
    if move.state in ACTIVE:
        return None  # however long it takes: it was asked to end, and nothing else may begin
    return Step.SWITCH


def _not_a_persons(move: Move, attempt: Attempt) -> None:
    """Raises Ends when it is over for another reason than this move."""
    if move.instance.deleted_at is not None or move.instance.attempt != move.row.source_attempt:
        raise Ends(Ending.CANCELLED, "migration:gone_on")
    if attempt.stop_reason != MOVED or attempt.stop_requested != "save":
        raise Ends(Ending.CANCELLED, "migration:stopped_by_person")
    if move.state is State.SUCCEEDED:
        raise Ends(Ending.CANCELLED, "migration:ended_before", str(move.state))
    if move.state not in OVER | ACTIVE:
        raise fails("migration:source_lost")


def _switch(move: Move) -> Step | None:
    """The next attempt, once the target has what the source saved last."""
    _not_a_persons(move, move.source_attempt)
    row = move.row
    resume = _newest(move)
    if resume is None:
        return None
    if (resume.attempt, resume.step) != (row.checkpoint_attempt, row.checkpoint_step):
        _pin(move, resume)
    if not _is_copied(move):
        return None
    if not row.is_staged:
        raise fails("migration:copy_differs")
    if row.target.state not in {NodeState.ONLINE, NodeState.SUSPECT}:
        raise fails("migration:target_away")
    number = row.source_attempt + 1
    resume_store(job=move.job, attempt=number, resume=resume)
    try:
        with transaction.atomic():
            instance_switch(
                instance=move.instance,
                attempt=row.source_attempt,
                node_id=row.target_id,
                devices=row.target_devices,
                step=resume.step,
                reason=MOVED,
            )
    except IntegrityError as error:
        raise fails("migration:no_target", str(error)) from error
    move.update(target_attempt=number)
    return Step.START


def _newest(move: Move) -> Resume | None:
    """The newest checkpoint that can be had; when that was a later one once, and its node is silent now, wait."""
    row = move.row
    found = resume_find(job=move.job)
    pinned = (row.checkpoint_attempt or 0, row.checkpoint_step or 0)
    if found is not None and (found.attempt, found.step) >= pinned:
        return found
    if not move.waits_longer(settings.MIGRATION_RESERVE_S):
        return None
    # the source is away: what the target has is as good as it gets
    return resume_find(job=move.job, at=pinned)


# --- on the target ---------------------------------------------------------------------------------------------


def _start(move: Move) -> Step | None:
    row = move.row
    if move.instance.attempt != row.target_attempt or move.instance.deleted_at is not None:
        raise fails("migration:gone_on")
    attempt = Attempt.objects.get(instance=move.instance, number=row.target_attempt)
    if attempt.first_step_at is not None or move.state is State.SUCCEEDED:
        return Step.RELEASE
    if move.state in ACTIVE:
        return None
    if attempt.stop_requested:
        raise Ends(Ending.CANCELLED, "migration:stopped_by_person")
    raise fails("migration:start_failed", attempt.failure_reason)


def _release(move: Move) -> Step | None:
    """The devices of the source at once; its files when the target has a checkpoint of its own."""
    row, instance = move.row, move.instance
    devices_let_go(instance=instance)
    own = any(
        one.is_complete and one.attempt >= (row.target_attempt or 0)
        for one in checkpoint_list(instance=instance)
    )
    saving = ResultSaving.objects.filter(instance=instance).first()
    if own and (saving is None or saving.done_at is not None):
        moved_files_remove(instance=instance, node_id=row.source_id, up_to=row.source_attempt)
        move.done()
        return None
    if move.state not in ACTIVE or move.waits_longer(settings.MIGRATION_RELEASE_S):
        move.done("migration:files_kept")  # their age removes them
        return None
    if not own and move.state is State.RUNNING and move.is_ask_due():
        _checkpoint_ask(move, attempt=instance.attempt, word="release")
    return None


_STEPS: dict[Step, Callable[[Move], Step | None]] = {
    Step.FREEZE: _freeze,
    Step.COPY: _copy,
    Step.VERIFY: _verify,
    Step.RESERVE: _reserve,
    Step.STOP: _stop,
    Step.SWITCH: _switch,
    Step.START: _start,
    Step.RELEASE: _release,
}
