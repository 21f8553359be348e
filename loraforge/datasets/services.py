"""Writes of datasets."""

import re
from pathlib import Path

import msgspec
from auditlog.context import set_actor
from django.core import signing
from django.core.files.storage import default_storage
from django.db import transaction
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core import events
from loraforge.core.errors import Invalid
from loraforge.datasets import spool
from loraforge.datasets.models import Dataset, DatasetState, Upload
from loraforge.datasets.problems import text_of
from loraforge.datasets.rows import RowError, RowReport
from loraforge.datasets.selectors import INPUT_SALT, require_bytes
from loraforge.datasets.spool import SpooledFile
from loraforge.nodes.models import Node

# SWIFT's own spelling (swift/dataset/loader.py): [HF::|MS::]org/name[:subset[/subset]][#rows]
_REMOTE_ID = re.compile(
    r"(?:(?:HF|MS)::)?"
    r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}"
    r"(?::[\w.-]{1,60}(?:/[\w.-]{1,60}){0,9})?"
    r"(?:#[1-9][0-9]{0,11})?",
    re.ASCII,
)


def storage_name(upload: Upload) -> str:
    """Where an upload's bytes go; made from its id only, never from what the user called it."""
    text = upload.pk.hex
    return f"datasets/{text[:2]}/{text}.jsonl"


def _store(upload: Upload) -> str:
    """Give the bytes to the storage under their final name; the spool keeps its own until the commit.

    A second try after a crash first removes what the first one left.
    """
    name = storage_name(upload)
    moving = spool.moving_path(upload.pk)
    moving.unlink(missing_ok=True)
    moving.hardlink_to(spool.spool_path(upload.pk))
    default_storage.delete(name)
    with SpooledFile(moving) as file:
        return default_storage.save(name, file)


def _errors(report: RowReport) -> list[dict[str, object]]:
    with translation.override("en"):
        return [
            {**msgspec.to_builtins(error), "message": text_of(error.id, error.params)}
            for error in report.errors
        ]


def dataset_create_from_upload(*, upload: Upload, report: RowReport, sha256: str) -> Dataset:
    """Turn a checked upload into a dataset, READY or INVALID, in the name of its owner."""
    if upload.sha256 and sha256 and upload.sha256 != sha256:
        report.errors = [RowError(line=0, id="rows:sha256_differs"), *report.errors]
        report.error_count += 1
    with set_actor(upload.owner), transaction.atomic():
        dataset = Dataset.objects.create(
            owner=upload.owner,
            name=Path(upload.filename).stem[:200] or upload.filename[:200],
            state=DatasetState.INVALID if report.error_count else DatasetState.READY,
            storage_name=_store(upload),
            size_bytes=upload.size_bytes,
            sha256=sha256,
            rows=report.rows,
            row_format=report.row_format,
            errors=_errors(report),
            error_count=report.error_count,
            preview=report.preview,
            notes=report.notes,
        )
        Upload.objects.filter(pk=upload.pk).update(dataset=dataset, checked_bytes=upload.size_bytes)
    spool.spool_delete(upload.pk)
    return dataset


def dataset_create_remote(*, actor: User, remote_id: str, name: str = "") -> Dataset:
    """Name a dataset of a model hub. Whether it exists there, the job finds out. Raises Invalid."""
    access.require(actor, Action.CREATE)
    remote_id = remote_id.strip()
    if len(remote_id) > 200 or not _REMOTE_ID.fullmatch(remote_id):  # noqa: PLR2004 - the column
        text = _(
            "Write a dataset as org/name, for instance AI-ModelScope/alpaca-gpt4-data-zh, with HF:: or "
            "MS:: before it to choose the hub, :subset behind it, and #500 to take only 500 rows."
        )
        raise Invalid("datasets:bad_remote_id", text, fields={"remote_id": [text]})
    return Dataset.objects.create(
        owner=actor,
        name=(name.strip() or remote_id)[:200],
        kind=Dataset.Kind.REMOTE,
        state=DatasetState.READY,
        remote_id=remote_id,
    )


def dataset_delete(*, actor: User, dataset: Dataset) -> None:
    """Delete a dataset and its bytes. Raises Conflict while a job that has not ended uses it.

    Apps above that use datasets subscribe to events.DATASET_DELETING and refuse there.
    """
    access.require(actor, Action.CHANGE, dataset)
    with transaction.atomic():
        locked = Dataset.objects.select_for_update().get(pk=dataset.pk)
        events.emit(events.DATASET_DELETING, dataset=locked)
        locked.preview = []
        locked.deleted_at = timezone.now()
        locked.save(update_fields=["preview", "deleted_at"])
        transaction.on_commit(lambda: dataset_bytes_remove(dataset=locked))


def dataset_bytes_remove(*, dataset: Dataset) -> None:
    """Remove the bytes of a deleted dataset; the emptied storage_name says that it is done."""
    if dataset.storage_name:
        default_storage.delete(dataset.storage_name)
    Dataset.objects.filter(pk=dataset.pk).update(storage_name="")


def datasets_sweep() -> int:
    """Remove bytes that a crash left behind after their dataset was deleted; how many there were."""
    left = list(Dataset.objects.exclude(deleted_at=None).exclude(storage_name="")[:200])
    for dataset in left:
        dataset_bytes_remove(dataset=dataset)
    return len(left)


def input_url(*, dataset: Dataset, node: Node) -> str:
    """The relative address at which this node, and no other, fetches the dataset for a day."""
    require_bytes(dataset)
    claims = {"node": node.name, "dataset": dataset.pk, "sha256": dataset.sha256}
    signed = signing.dumps(claims, salt=INPUT_SALT)
    return reverse("api:agent-input", kwargs={"signed": signed})
