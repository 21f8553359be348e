"""Uploads: made, locked, moved on, removed. Every change is one guarded UPDATE, so that two processes
can never both believe that they write the same upload."""

import re
import secrets
from datetime import timedelta
from pathlib import PurePosixPath
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core.errors import Conflict, Invalid, LoraForgeError
from loraforge.datasets import quota, spool
from loraforge.datasets.codecheck import SUFFIX as CODE_SUFFIX
from loraforge.datasets.models import Dataset, Upload
from loraforge.datasets.sniffing import SUFFIXES

ACCEPTED_SUFFIXES = frozenset({*SUFFIXES, CODE_SUFFIX, ""})
LOCK_S = 30
MAX_OPEN_UPLOADS = 50
MAX_CHECK_TRIES = 3
_SHA256 = re.compile(r"[0-9a-f]{64}")


class TooLarge(LoraForgeError):
    """More bytes than allowed."""

    status = 413


class DiskFull(LoraForgeError):
    """No room for it."""

    status = 507


def too_large() -> TooLarge:
    """The upload is larger than this platform takes."""
    return TooLarge(
        "datasets:upload_too_large",
        _("The largest file accepted is %(limit)s bytes. Split the dataset into several files.")
        % {"limit": settings.UPLOAD_MAX_BYTES},
    )


def body_too_long(upload: Upload) -> TooLarge:
    """More bytes are being sent than the upload has left."""
    text = _(
        "The body is longer than what is left: %(size)s bytes were announced and %(offset)s have arrived. "
        "Send at most %(left)s bytes, or begin a new upload with the right length."
    ) % {
        "size": upload.size_bytes,
        "offset": upload.offset_bytes,
        "left": upload.size_bytes - upload.offset_bytes,
    }
    return TooLarge("datasets:body_too_long", text, fields={"Upload-Length": [text]})


def disk_full() -> DiskFull:
    """The platform's disk is nearly full."""
    return DiskFull(
        "datasets:disk_full",
        _(
            "The platform's disk is nearly full. Delete datasets you no longer need, or tell an operator."
        ),
    )


def _check_name(filename: str) -> str:
    name = PurePosixPath(filename.replace("\\", "/")).name.strip().strip(".") or "dataset.jsonl"
    if (
        not name.isprintable()
    ):  # also what turns the writing around: the name would be read as another
        raise Invalid(
            "datasets:bad_filename", _("The file name has control characters. Rename it.")
        )
    if PurePosixPath(name).suffix.lower() not in ACCEPTED_SUFFIXES:
        raise Invalid(
            "datasets:type_not_accepted",
            _(
                "Only JSONL, JSON, CSV, TSV and Parquet files are accepted. Unpack or convert the file."
            ),
            fields={"filename": [name]},
        )
    return name[-255:]


def _check_room(size_bytes: int) -> None:
    """There must be room for this upload and for what all others still announce."""
    awaited = Upload.objects.filter(dataset=None, expires_at__gt=timezone.now()).aggregate(
        missing=Sum(F("size_bytes") - F("offset_bytes"))
    )["missing"]
    if spool.free_bytes() - (awaited or 0) - size_bytes < settings.UPLOAD_RESERVE_BYTES:
        raise disk_full()


def _check_quota(owner: User, size_bytes: int) -> None:
    used = quota.used_bytes(user=owner)
    limit = quota.limit_bytes(user=owner)
    if limit is not None and used + size_bytes > limit:
        text = _(
            "Your datasets take %(used)s bytes of %(limit)s, and this file has %(size)s. Delete datasets "
            "you no longer need, or ask an operator."
        )
        told = text % {"used": used, "limit": limit, "size": size_bytes}
        raise TooLarge("datasets:quota", told, fields={"Upload-Length": [told]})


def _check_open(actor: User) -> None:
    still = Upload.objects.filter(owner=actor, dataset=None, expires_at__gt=timezone.now())
    if still.count() >= MAX_OPEN_UPLOADS:
        raise Conflict(
            "datasets:too_many_uploads",
            _("You have %(count)s unfinished uploads. Finish or remove some of them first.")
            % {"count": MAX_OPEN_UPLOADS},
        )


def upload_create(
    *,
    actor: User,
    filename: str,
    size_bytes: int,
    sha256: str = "",
    version_of: Dataset | None = None,
) -> Upload:
    """Begin an upload; version_of: it will be the next version of that dataset.

    Raises Denied, Invalid (name), TooLarge (file or quota), DiskFull, Conflict (too many open).
    """
    access.require(actor, Action.CREATE)
    if size_bytes > settings.UPLOAD_MAX_BYTES:
        raise too_large()
    name = _check_name(filename)
    if sha256 and not _SHA256.fullmatch(sha256):
        text = _("A SHA-256 is 64 hexadecimal digits.")
        raise Invalid("datasets:bad_sha256", text, fields={"sha256": [text]})
    if version_of is not None:
        access.require(actor, Action.CHANGE, version_of)
    owner = actor if version_of is None else version_of.owner
    with transaction.atomic():
        # one at a time, so that all together keep to the quota
        User.objects.select_for_update(no_key=True).get(pk=owner.pk)
        _check_quota(owner, size_bytes)
        _check_room(size_bytes)
        _check_open(actor)
        upload = Upload(
            owner=actor,
            filename=name,
            size_bytes=size_bytes,
            sha256=sha256,
            version_of=version_of,
            columns={} if version_of is None else version_of.columns,
            expires_at=timezone.now() + settings.UPLOAD_EXPIRES,
        )
        spool.spool_create(upload.pk)
        upload.save(force_insert=True)
    return upload


def lock_take(*, upload_id: UUID, hold_s: int = LOCK_S) -> str:
    """Become the upload's only writer; the token proves it. Raises Locked."""
    now = timezone.now()
    token = secrets.token_hex(16)
    taken = (
        Upload.objects.filter(pk=upload_id)
        .filter(Q(locked_until=None) | Q(locked_until__lt=now))
        .update(locked_until=now + timedelta(seconds=hold_s), lock_token=token)
    )
    if not taken:
        raise spool.locked_error()
    return token


def lock_extend(*, upload_id: UUID, token: str, hold_s: int = LOCK_S, **columns: int) -> None:
    """Stay the writer, and store columns such as offset_bytes. Raises Locked when it was lost."""
    until = timezone.now() + timedelta(seconds=hold_s)
    held = Upload.objects.filter(pk=upload_id, lock_token=token).update(
        locked_until=until, **columns
    )
    if not held:
        raise spool.locked_error()


def lock_free(*, upload_id: UUID, token: str) -> None:
    """Let the next one write."""
    Upload.objects.filter(pk=upload_id, lock_token=token).update(locked_until=None, lock_token="")


def upload_delete(*, upload: Upload) -> None:
    """Forget an unfinished upload and remove its bytes. Raises Locked while somebody writes it."""
    lock_take(upload_id=upload.pk)
    spool.spool_delete(upload.pk)
    upload.delete()


def uploads_expire() -> int:
    """Remove uploads past their time, and their bytes; how many there were.

    Finished ones only lose their row: their bytes are a dataset's by then.
    """
    removed = 0
    for upload in Upload.objects.filter(expires_at__lt=timezone.now()).order_by("expires_at")[:200]:
        try:
            with transaction.atomic():
                upload_delete(upload=upload)
        except LoraForgeError:
            continue  # still being written or checked: the next round finds it again
        removed += 1
    return removed


def uploads_unchecked() -> list[UUID]:
    """Uploads whose bytes are all here, but that nobody is checking now."""
    return list(
        Upload.objects.filter(dataset=None, offset_bytes=F("size_bytes"))
        .filter(Q(locked_until=None) | Q(locked_until__lt=timezone.now()))
        .order_by("created_at")
        .values_list("pk", flat=True)[:200]
    )
