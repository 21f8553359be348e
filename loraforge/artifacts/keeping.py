"""Results that stay: copied from the node to the control plane's storage when a job ends, and verified.

In steps of seconds that any control worker may take: what was decided, how far it came and who is at it
stand in SQL. A node that is away is waited for; a node that never returns takes only what had not come.
"""

import errno
import logging
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import DatabaseError, transaction
from django.db.models import F, Q, QuerySet, Sum
from django.utils import timezone

from loraforge.artifacts import resultspool
from loraforge.artifacts.models import (
    BestCheckpoint,
    FileLease,
    ResultCopy,
    ResultSaving,
)
from loraforge.artifacts.replicas import candidates_of, is_live
from loraforge.artifacts.results import Folder, results_select
from loraforge.artifacts.selectors import checkpoint_list
from loraforge.artifacts.services import best_checkpoint_read
from loraforge.artifacts.wishes import results_want
from loraforge.core import outbox
from loraforge.core.errors import NotFound, Unavailable
from loraforge.datasets.spool import SpooledFile
from loraforge.instances.models import Attempt, Instance, InstanceEvent
from loraforge.instances.states import TERMINAL, State
from loraforge.nodelink.files import file_open

REMOVE_TASK = "artifacts.copies_remove"
STEP_S = 2.0
AT_ONCE = 2  # of the control workers' four threads: placing and dispatching go on
LOCK = timedelta(minutes=2)
STORE_LOCK = timedelta(minutes=30)  # a storage elsewhere takes the whole file in one go
FIRST_WAIT_S, LONGEST_WAIT_S = 10, 600
LEFT_OVER_S = 3600.0
TRIES = 2  # bytes that are not those of the manifest are fetched once more
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_log = logging.getLogger(__name__)


class _Wait(Exception):
    """Nothing can be done now; the text is a `ResultSaving.Trouble`."""


# --- what is wanted ---------------------------------------------------------------------------------------


def _plan(saving: ResultSaving) -> None:
    """Rows for what is to be saved, and a mark on what is not wanted any more."""
    instance = saving.instance
    last = Attempt.objects.filter(instance=instance).order_by("-number").first()
    if last is not None:
        _best_learn(instance)
        _rows_make(instance, last_attempt=last.number)
    # The wish that we read: one that came meanwhile is a newer one, and is planned for again.
    saving.planned_at = saving.wanted_at
    ResultSaving.objects.filter(pk=saving.pk, lock_token=saving.lock_token).update(
        planned_at=saving.wanted_at
    )


def _best_learn(instance: Instance) -> None:
    """What the trainer holds for the best; the task that asks at the manifest may not have run yet."""
    rows = Attempt.objects.filter(instance=instance).select_related("node").order_by("-number")
    newest = rows.filter(output_files__path__contains="checkpoint-").first()
    if newest is not None and not BestCheckpoint.objects.filter(attempt=newest).exists():
        best_checkpoint_read(attempt=newest)


def _checkpoints(instance: Instance) -> list[Folder]:
    """The last one and the best one, as many as the setting lets."""
    listed = [one for one in checkpoint_list(instance=instance) if not one.weights_missing]
    last = next((one for one in listed if one.is_complete), listed[0] if listed else None)
    best = next((one for one in listed if one.is_best), None)
    found = dict.fromkeys((one.attempt, one.path) for one in (last, best) if one is not None)
    return list(found)[: settings.RESULT_MAX_CHECKPOINTS]


@transaction.atomic
def _rows_make(instance: Instance, *, last_attempt: int) -> None:
    selection = results_select(
        candidates_of(instance),
        last_attempt=last_attempt,
        checkpoints=_checkpoints(instance),
        max_bytes=settings.RESULT_MAX_BYTES,
    )
    copies = ResultCopy.objects.filter(file__attempt__instance=instance)
    copies.update(is_wanted=False)
    rows = [ResultCopy(file_id=pk, place=place) for place, pk in enumerate(selection.kept)]
    rows += [
        ResultCopy(file_id=pk, place=len(rows), state=ResultCopy.State.TOO_LARGE)
        for pk in selection.too_large
    ]
    ResultCopy.objects.bulk_create(rows, ignore_conflicts=True, batch_size=500)
    for begin in range(0, len(rows), 500):
        ids = [row.pk for row in rows[begin : begin + 500]]
        copies.filter(pk__in=ids).update(is_wanted=True)
    fits = copies.filter(pk__in=selection.kept, state=ResultCopy.State.TOO_LARGE)
    fits.update(state=ResultCopy.State.WAITING)


# --- a step -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """What a step came to. more: another one would find something to do at once."""

    more: bool = False


def results_step(*, instance_id: int) -> Step:
    """Save results for about STEP_S; does nothing while another worker is at it."""
    saving = _lock(instance_id)
    if saving is None:
        return Step()
    trouble, more = "", False
    try:
        more = _work(saving, deadline=time.monotonic() + STEP_S)
    except _Wait as wait:
        trouble = str(wait)
    except DatabaseError:
        raise
    except Exception:
        # one job's trouble, or that of the storage, which may be any library's
        _log.exception("#%d: results cannot be saved now", instance_id)
        trouble = ResultSaving.Trouble.STORAGE
    finally:
        _free(saving, trouble=trouble)
    return Step(more=more)


def _lock(instance_id: int) -> ResultSaving | None:
    now = timezone.now()
    at_it = ResultSaving.objects.filter(locked_until__gt=now)
    if at_it.count() >= AT_ONCE:
        return None
    token = secrets.token_hex(8)
    due = ResultSaving.objects.filter(pk=instance_id, done_at=None, next_at__lte=now)
    free = due.filter(Q(locked_until=None) | Q(locked_until__lte=now))
    if not free.update(locked_until=now + LOCK, lock_token=token):
        return None
    rows = ResultSaving.objects.select_related("instance")
    return rows.filter(pk=instance_id, lock_token=token).first()


def _free(saving: ResultSaving, *, trouble: str) -> None:
    """Give the lock back; in trouble, the longer it lasts the later the next try."""
    wait_s = min(FIRST_WAIT_S * 2**saving.waits, LONGEST_WAIT_S) if trouble else 0
    ResultSaving.objects.filter(pk=saving.pk, lock_token=saving.lock_token).update(
        locked_until=None,
        lock_token="",
        trouble=trouble,
        waits=min(saving.waits + 1, 10) if trouble else 0,
        next_at=timezone.now() + timedelta(seconds=wait_s),
    )


def _work(saving: ResultSaving, *, deadline: float) -> bool:
    """True when there is more. Raises _Wait."""
    if not saving.is_planned:
        _plan(saving)
    copies = ResultCopy.objects.filter(
        file__attempt__instance=saving.instance,
        is_wanted=True,
        state=ResultCopy.State.WAITING,
    ).select_related("file__attempt__node")
    away: set[int] = set()  # nodes; what lies on others goes on
    while True:
        copy = copies.exclude(file__attempt__node__in=away).first()
        if copy is None and away:
            raise _Wait(ResultSaving.Trouble.NODE_AWAY)
        if copy is None:
            return not _finish(saving)
        try:
            _advance(saving, copy, deadline=deadline)
        except Unavailable as error:
            _log.info("%s waits: %s", copy.file.attempt, error)
            away.add(copy.file.attempt.node_id)
        if time.monotonic() >= deadline:  # only here: every step comes further
            return True


def _finish(saving: ResultSaving) -> bool:
    """Everything wanted is here or given up. False when something new was wanted meanwhile."""
    done = ResultSaving.objects.filter(
        pk=saving.pk, lock_token=saving.lock_token, planned_at__gte=F("wanted_at")
    ).update(done_at=timezone.now())
    if done:
        old = ResultCopy.objects.filter(
            file__attempt__instance_id=saving.instance_id, is_wanted=False
        )
        _removal_begin(old, instance_id=saving.instance_id)
        _log.info("#%d: results are saved", saving.instance_id)
    return bool(done)


def _advance(saving: ResultSaving, copy: ResultCopy, *, deadline: float) -> None:
    """Fetch some of it, and once it is whole, verify and store it. Raises Unavailable, _Wait."""
    try:
        if copy.offset_bytes < copy.file.size_bytes:
            _fetch(copy, deadline=deadline)
        if copy.offset_bytes >= copy.file.size_bytes:
            _verify(saving, copy, deadline=deadline)
    except NotFound:
        _give_up(copy, reason="results:gone")
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise _Wait(ResultSaving.Trouble.DISK_FULL) from error


def _fetch(copy: ResultCopy, *, deadline: float) -> None:
    size = copy.file.size_bytes
    # a process that died may have been further than SQL knows, a lost disk less far
    offset = min(copy.offset_bytes, resultspool.have_bytes(copy.pk))
    if offset < copy.offset_bytes:
        resultspool.forget(copy.pk)  # what was counted is not what will lie there
    if resultspool.free_bytes() < size - offset + settings.UPLOAD_RESERVE_BYTES:
        raise _Wait(ResultSaving.Trouble.DISK_FULL)
    attempt = copy.file.attempt
    with file_open(
        node=attempt.node,
        instance_id=attempt.instance_id,
        attempt=attempt.number,
        path=copy.file.path,
        user="results",
        headers={"Range": f"bytes={offset}-{size - 1}"},
    ) as source:
        if source.status != 206:  # noqa: PLR2004 - it is shorter than the manifest says
            _differs(copy)
            return
        writer = resultspool.Writer((copy.pk, copy.tries), offset_bytes=offset)
        try:
            while writer.offset_bytes < size and (piece := source.read()):
                writer.write(piece)
                if time.monotonic() >= deadline:
                    break
        finally:
            writer.close()
            copy.offset_bytes = writer.offset_bytes
            ResultCopy.objects.filter(pk=copy.pk).update(offset_bytes=writer.offset_bytes)


def _verify(saving: ResultSaving, copy: ResultCopy, *, deadline: float) -> None:
    if resultspool.have_bytes(copy.pk) < copy.file.size_bytes:
        resultspool.forget(copy.pk)  # it was lost from the disk
        ResultCopy.objects.filter(pk=copy.pk).update(offset_bytes=0)
        return
    if not copy.file.size_bytes:
        resultspool.Writer((copy.pk, copy.tries), offset_bytes=0).close()
    go = (copy.pk, copy.tries)
    found = resultspool.digest_step(go, size_bytes=copy.file.size_bytes, deadline=deadline)
    if found is None:
        return
    if found == copy.file.sha256:
        _store(saving, copy)
    else:
        _differs(copy)


def storage_name(copy: ResultCopy) -> str:
    """Where a copy lies; made from numbers only, never from what the job called it."""
    return f"results/{copy.file.attempt.instance_id}/{copy.file.attempt.number}/{copy.pk}"


def _store(saving: ResultSaving, copy: ResultCopy) -> None:
    """Give the bytes to the storage. A second try after a crash first removes what the first one left."""
    held = ResultSaving.objects.filter(pk=saving.pk, lock_token=saving.lock_token)
    if not held.update(locked_until=timezone.now() + STORE_LOCK):
        return  # it took so long that another worker is at it
    name = storage_name(copy)
    default_storage.delete(name)
    with SpooledFile(resultspool.path_of(copy.pk)) as file:
        stored = default_storage.save(name, file)
    kept = ResultCopy.objects.filter(pk=copy.pk, state=ResultCopy.State.WAITING).update(
        state=ResultCopy.State.KEPT, storage_name=stored, kept_at=timezone.now()
    )
    if not kept:  # its job was deleted meanwhile
        default_storage.delete(stored)
    resultspool.delete(copy.pk)


def _differs(copy: ResultCopy) -> None:
    """The bytes are not those that the manifest named: once more, then never again."""
    resultspool.delete(copy.pk)
    tried = copy.tries + 1
    _log.warning("%s of %s: the bytes differ from the manifest", copy.file.path, copy.file.attempt)
    ResultCopy.objects.filter(pk=copy.pk).update(offset_bytes=0, tries=tried)
    copy.offset_bytes, copy.tries = 0, tried
    if tried >= TRIES:
        _give_up(copy, reason="results:hash_mismatch")


@transaction.atomic
def _give_up(copy: ResultCopy, *, reason: str) -> None:
    """It cannot be had; said once, in the job's history."""
    given_up = ResultCopy.objects.filter(pk=copy.pk, state=ResultCopy.State.WAITING)
    if is_live(copy.file.attempt.instance):
        given_up.delete()  # its trainer keeps the newest few only; the next one is asked for by itself
    elif given_up.update(state=ResultCopy.State.FAILED):
        attempt = copy.file.attempt
        InstanceEvent.objects.create(
            instance_id=attempt.instance_id,
            attempt=attempt.number,
            reason=reason,
            detail=copy.file.path,
        )
    resultspool.delete(copy.pk)


def results_due() -> list[int]:
    """Instances whose saving nobody is at; the oldest first."""
    now = timezone.now()
    due = ResultSaving.objects.filter(done_at=None, next_at__lte=now).filter(
        Q(locked_until=None) | Q(locked_until__lte=now)
    )
    return list(due.order_by("next_at").values_list("pk", flat=True)[:AT_ONCE])


# --- removal --------------------------------------------------------------------------------------------------


@transaction.atomic
def copies_delete(*, instance: Instance) -> int:
    """Delete all copies of an instance's results; returns how many bytes they had.

    Their rows go with the bytes, in a task. What is under way is broken off.
    """
    ResultSaving.objects.filter(pk=instance.pk, done_at=None).update(
        done_at=timezone.now(), trouble=""
    )
    rows = ResultCopy.objects.filter(file__attempt__instance=instance)
    kept = rows.filter(state=ResultCopy.State.KEPT)
    freed: int = kept.aggregate(total=Sum("file__size_bytes"))["total"] or 0
    _removal_begin(rows, instance_id=instance.pk)
    return freed


def _removal_begin(rows: QuerySet[ResultCopy], *, instance_id: int) -> None:
    if rows.update(state=ResultCopy.State.REMOVING):
        outbox.task_enqueue(REMOVE_TASK, instance_id=instance_id)


def copies_remove(*, instance_id: int | None = None, limit: int = 200) -> int:
    """Remove the bytes of copies that are to go, then their rows; returns how many went.

    Those of an instance whose files are being handed out wait until that is over.
    """
    leased = FileLease.objects.filter(expires_at__gt=timezone.now()).values("instance")
    rows = ResultCopy.objects.filter(state=ResultCopy.State.REMOVING).exclude(
        file__attempt__instance__in=leased
    )
    if instance_id is not None:
        rows = rows.filter(file__attempt__instance=instance_id)
    gone = list(rows.select_related("file__attempt")[:limit])
    for copy in gone:
        default_storage.delete(copy.storage_name or storage_name(copy))
        resultspool.delete(copy.pk)
        copy.delete()
    return len(gone)


def spool_sweep() -> int:
    """Remove bytes that a crash left behind after their copy was gone; how many files."""
    waiting = ResultCopy.objects.filter(state=ResultCopy.State.WAITING)
    gone = resultspool.left_over(set(waiting.values_list("pk", flat=True)), older_s=LEFT_OVER_S)
    for copy_id in gone:
        resultspool.delete(copy_id)
    return len(gone)


def instance_moved(*, instance: Instance, event: InstanceEvent) -> None:
    """Subscriber of events.INSTANCE_MOVED: what ended for good has results to save."""
    if State(event.target) in TERMINAL and instance.attempt:
        results_want(instance=instance)


def instance_deleted(*, instance: Instance, files: bool) -> None:
    """Subscriber of events.INSTANCE_DELETED: with ``files`` the copies go too."""
    if files:
        copies_delete(instance=instance)
