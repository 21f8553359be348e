"""Checks uploads whose bytes are all here, each in a process of its own (`rowcheck`).

The upload's row lock says that somebody is at it. When whoever checked dies, the lock runs out and
the next round (`datasets.uploads_sweep`, or the owner looking at the upload) begins again.
"""

import contextlib
import logging
import subprocess
import sys
import threading
from pathlib import Path, PurePosixPath
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import close_old_connections, connections
from django.db.models import F
from django.utils import timezone

from loraforge.core.errors import Locked
from loraforge.datasets import codecheck, quota, rowcheck, spool, uploads
from loraforge.datasets.models import Dataset, Upload
from loraforge.datasets.rowcheck import Progress, Task
from loraforge.datasets.rows import RowError, RowReport
from loraforge.datasets.verdicts import verdict_store

LOCK_S = 60
AT_ONCE = 2
CHECKING_PROCESSES = 2  # web, and the control worker, which takes up what was left

_CODE_FOLDER = Path(__file__).resolve().parents[2]

_log = logging.getLogger(__name__)
_slots = threading.BoundedSemaphore(AT_ONCE)
_starting = threading.Lock()
_waiting: dict[UUID, threading.Thread] = {}  # started in this process and not ended
_parse = msgspec.json.Decoder(Progress).decode


class CheckFailed(RuntimeError):
    """The checking process ended without a result."""


def check_start(*, upload_id: UUID) -> threading.Thread:
    """Check an upload in the background, once; at most AT_ONCE at a time in this process."""
    with _starting:
        if upload_id in _waiting:
            return _waiting[upload_id]
        thread = threading.Thread(
            target=_check_in_thread, args=(upload_id,), name=f"check-{upload_id}", daemon=True
        )
        _waiting[upload_id] = thread
    thread.start()
    return thread


def check_start_if_due(upload: Upload) -> None:
    """Have a complete upload checked, unless somebody is at it or this process soon will be."""
    is_complete = upload.dataset_id is None and upload.offset_bytes == upload.size_bytes
    is_free = upload.locked_until is None or upload.locked_until < timezone.now()
    if is_complete and is_free and upload.pk not in _waiting:
        check_start(upload_id=upload.pk)


def checks_resume() -> list[threading.Thread]:
    """Begin again what nobody is checking any more."""
    due = [upload_id for upload_id in uploads.uploads_unchecked() if upload_id not in _waiting]
    return [check_start(upload_id=upload_id) for upload_id in due]


def _check_in_thread(upload_id: UUID) -> None:
    with _slots:
        close_old_connections()
        try:
            upload_check(upload_id=upload_id)
        except Locked:
            _log.debug("upload %s is checked by somebody else", upload_id)
        except Exception:
            _log.exception("upload %s could not be checked", upload_id)
        finally:
            with _starting:
                _waiting.pop(upload_id, None)
            connections.close_all()


def upload_check(*, upload_id: UUID) -> Dataset | None:
    """Check a complete upload and make its dataset; None when there is nothing to do.

    Raises Locked while somebody else is at it, CheckFailed when the process broke (it is tried
    MAX_CHECK_TRIES times; then the dataset is INVALID and says so).
    """
    token = uploads.lock_take(upload_id=upload_id, hold_s=LOCK_S)
    try:
        rows = Upload.objects.select_related("owner", "version_of__owner", "recheck_of")
        upload = rows.filter(pk=upload_id, dataset=None).first()
        if upload is None or upload.offset_bytes != upload.size_bytes:
            return None
        Upload.objects.filter(pk=upload_id).update(check_tries=F("check_tries") + 1)
        if upload.check_tries >= uploads.MAX_CHECK_TRIES:
            return verdict_store(upload=upload, last=_given_up())
        last = _run(upload, token)
        if last.report is None:
            raise CheckFailed(f"upload {upload_id}: the last word was {last}")
        return verdict_store(upload=upload, last=last)
    finally:
        uploads.lock_free(upload_id=upload_id, token=token)


def _given_up() -> Progress:
    params = {"tries": uploads.MAX_CHECK_TRIES}
    error = RowError(line=0, id="rows:check_failed", params=params)
    return Progress(done=0, report=RowReport(error_count=1, errors=[error]))


def _task(upload: Upload) -> Task:
    """What the checking process is told: converted rows leave the disk its reserve, and keep to the quota.

    Others are checked at the same time, here and in another process; each has its part of the room.
    """
    room = (spool.free_bytes() - settings.UPLOAD_RESERVE_BYTES) // (CHECKING_PROCESSES * AT_ONCE)
    owner = upload.owner if upload.version_of is None else upload.version_of.owner
    most = quota.limit_bytes(user=owner)
    if most is not None and upload.recheck_of_id is None:
        room = min(room, most - quota.used_bytes(user=owner) + upload.size_bytes)
    return Task(
        suffix=PurePosixPath(upload.filename).suffix.lower(),
        columns=upload.columns,
        limit_bytes=max(0, min(settings.UPLOAD_MAX_BYTES, room)),
    )


def _run(upload: Upload, token: str) -> Progress:
    """Run `rowcheck`, pass its progress on, and return its last line."""
    if upload.recheck_of is not None:
        spool.storage_take(upload.recheck_of.storage_name, upload.pk)
    path = spool.spool_path(upload.pk)
    is_code = PurePosixPath(upload.filename).suffix.lower() == codecheck.SUFFIX
    program = codecheck.__name__ if is_code else rowcheck.__name__
    command = [sys.executable, "-m", program, str(path)]
    last = Progress(done=0)
    with subprocess.Popen(
        command, cwd=_CODE_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            _tell(process, _task(upload))
            for line in process.stdout or ():
                last = _parse(line)
                uploads.lock_extend(
                    upload_id=upload.pk, token=token, hold_s=LOCK_S, checked_bytes=last.done
                )
        finally:
            process.kill()
    return last


def _tell(process: "subprocess.Popen[bytes]", task: Task) -> None:
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(msgspec.json.encode(task))
