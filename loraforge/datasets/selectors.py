"""Reads of datasets and uploads, filtered by what the asker may see."""

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.core import signing
from django.core.files.storage import default_storage
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core import events
from loraforge.core.errors import Denied, Gone, Invalid, NotFound
from loraforge.datasets.models import Dataset, DatasetState, Upload
from loraforge.datasets.rowindex import Index, IndexBroken
from loraforge.datasets.rows import MAX_LINE_BYTES, rows_read
from loraforge.nodes.models import Node

Asker = User | AnonymousUser

INPUT_SALT = "loraforge.datasets.input"
INPUT_MAX_AGE_S = 24 * 3600  # an image and a model may have to come before
# How far into a file a preview looks; what lies behind is to be had by downloading it.
PREVIEW_SCAN_BYTES = 64 * 1024**2


def dataset_list(*, user: Asker, with_code: bool = False) -> QuerySet[Dataset]:
    """What the user may see and is not deleted, newest first; code files only where they are asked for."""
    rows = Dataset.objects.filter(deleted_at=None)
    if not with_code:
        rows = rows.exclude(kind=Dataset.Kind.CODE)
    return access.visible(user, rows).select_related("owner")


def dataset_get(*, user: Asker, dataset_id: int) -> Dataset:
    """One dataset. Raises NotFound when it is not there, deleted, or none of the user's business."""
    dataset = dataset_list(user=user, with_code=True).filter(pk=dataset_id).first()
    if dataset is None:
        raise NotFound("datasets:not_found", _("There is no such dataset."))
    return dataset


def dataset_uses(*, dataset: Dataset) -> list[str]:
    """Who uses it, in sentences; apps above know."""
    found: list[str] = []
    events.emit(events.DATASET_USED, dataset=dataset, found=found)
    return found


def dataset_versions(*, user: Asker, dataset: Dataset) -> list[Dataset]:
    """All versions of it that the user may see, newest first; a single one has no others to show."""
    first = dataset.first_id or dataset.pk
    rows = dataset_list(user=user).filter(Q(pk=first) | Q(first=first))
    found = list(rows.only("pk", "name", "version", "rows", "created_at", "owner__username"))
    return sorted(found, key=lambda one: -one.version) if len(found) > 1 else []


def dataset_rows(*, user: Asker, dataset: Dataset, offset: int, limit: int) -> list[Any]:
    """Rows [offset, offset + limit), each cut for a page. Raises NotFound, Denied, Invalid."""
    access.require(user, Action.DOWNLOAD, dataset)
    require_bytes(dataset)
    if dataset.kind == Dataset.Kind.CODE:
        text = _("This is a file with code: it has no rows. Download it to read it.")
        raise Invalid("datasets:code", text)
    try:
        first, begin = _nearest(dataset, offset)
        with default_storage.open(dataset.storage_name, "rb") as file:
            file.seek(begin)
            return rows_read(_lines(file), offset=offset, limit=limit, first=first)
    except FileNotFoundError as error:  # deleted at this moment
        raise _gone() from error


def _nearest(dataset: Dataset, row: int) -> tuple[int, int]:
    """(number, offset) of a row from which on to look for this one; of older datasets the first.

    An index counts good rows only: where others stand between them it says nothing.
    """
    if not dataset.index_name or not row or dataset.state != DatasetState.READY:
        return 0, 0
    with default_storage.open(dataset.index_name, "rb") as file:
        try:
            return Index(file).nearest(row)
        except IndexBroken:
            return 0, 0


def _lines(file: Any) -> Iterator[bytes]:
    """The file's lines, each cut at the longest that is a row, up to the scan limit."""
    scanned = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        scanned += len(line)
        if scanned > PREVIEW_SCAN_BYTES:
            return
        yield line


def require_bytes(dataset: Dataset) -> None:
    """Raise unless the platform itself holds the dataset's bytes."""
    if dataset.kind == Dataset.Kind.REMOTE:
        raise Invalid(
            "datasets:remote",
            _("This is a remote dataset: its rows are fetched by the job from the model hub."),
        )
    if dataset.deleted_at is not None or not dataset.storage_name:
        raise _gone()


def _gone() -> Gone:
    return Gone("datasets:gone", _("The bytes of this dataset were removed."))


def upload_list(*, user: User) -> QuerySet[Upload]:
    """The user's own uploads that are no dataset yet, newest first; other people's do not exist."""
    return Upload.objects.filter(owner=user, dataset=None, expires_at__gt=timezone.now())


def upload_get(*, user: User, upload_id: UUID) -> Upload:
    """One own upload, finished or not. Raises NotFound, and Gone once it has expired."""
    upload = Upload.objects.filter(owner=user, pk=upload_id).first()
    if upload is None:
        raise NotFound("datasets:upload_not_found", _("There is no such upload. Start it again."))
    if upload.expires_at < timezone.now():
        raise Gone("datasets:upload_expired", _("This upload has expired. Start it again."))
    return upload


def dataset_for_node(*, node: Node, signed: str) -> Dataset:
    """The dataset that a signed input address of this node speaks of. Raises Denied, Gone."""
    try:
        claims = signing.loads(signed, salt=INPUT_SALT, max_age=INPUT_MAX_AGE_S)
    except signing.BadSignature as error:  # also its subclass SignatureExpired
        raise Denied(
            "datasets:bad_input_url",
            _("This address is wrong or older than a day; the command will be sent again."),
        ) from error
    if claims["node"] != node.name:
        raise Denied("datasets:bad_input_url", _("This address was made for another node."))
    dataset = Dataset.objects.filter(pk=claims["dataset"], sha256=claims["sha256"]).first()
    if dataset is None:
        raise Gone("datasets:gone", _("The bytes of this dataset were removed."))
    require_bytes(dataset)
    return dataset


def hashes_deleted(hashes: Iterable[str]) -> list[str]:
    """Which of these SHA-256 only deleted datasets have."""
    rows = Dataset.objects.filter(sha256__in=list(hashes)).values_list("sha256", "deleted_at")
    kept = {sha256 for sha256, deleted_at in rows if deleted_at is None}
    return sorted({sha256 for sha256, _deleted_at in rows} - kept)
