"""What a check has found, written down: a new dataset, or a new verdict on one that is there."""

from pathlib import Path
from typing import Any

import msgspec
from auditlog.context import set_actor
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Max, Q
from django.utils import translation

from loraforge.accounts.models import User
from loraforge.datasets import codecheck, spool
from loraforge.datasets.models import Dataset, DatasetState, Upload
from loraforge.datasets.problems import text_of
from loraforge.datasets.rowcheck import Progress, index_path, rows_path
from loraforge.datasets.rows import RowError, RowReport
from loraforge.datasets.shares import shares_copy


def storage_name(upload: Upload) -> str:
    """Where an upload's bytes go; made from its id only, never from what the user called it."""
    text = upload.pk.hex
    return f"datasets/{text[:2]}/{text}.jsonl"


def _errors(report: RowReport) -> list[dict[str, object]]:
    with translation.override("en"):
        return [
            {**msgspec.to_builtins(error), "message": text_of(error.id, error.params)}
            for error in report.errors
        ]


def _found(report: RowReport) -> dict[str, Any]:
    """Column -> value of what the rows turned out to be."""
    statistics = report.statistics
    return {
        "state": DatasetState.INVALID if report.error_count else DatasetState.READY,
        "rows": report.rows,
        "row_format": report.row_format,
        "traits": report.traits,
        "column_names": report.columns,
        "statistics": {} if statistics is None else msgspec.to_builtins(statistics),
        "errors": _errors(report),
        "error_count": report.error_count,
        "preview": report.preview,
        "notes": report.notes,
        "rewards": report.rewards,
    }


def _bytes_store(upload: Upload, last: Progress) -> dict[str, Any]:
    """Give the rows to the storage. Column -> value of where they are.

    Of a file that was converted the rows are kept, not the file: they are what jobs and pages read.
    """
    path = spool.spool_path(upload.pk)
    rows = rows_path(path)
    is_converted = bool(last.rows_sha256) and rows.exists()
    return {
        "storage_name": spool.storage_put(rows if is_converted else path, storage_name(upload)),
        "size_bytes": last.rows_bytes if is_converted else upload.size_bytes,
        "sha256": last.rows_sha256 if is_converted else last.sha256,
        "file_format": last.file_format,
    }


def _index_store(upload: Upload) -> str:
    """Beside the rows; empty when the check came to no end."""
    path = index_path(spool.spool_path(upload.pk))
    return spool.storage_put(path, f"{storage_name(upload)}.index") if path.exists() else ""


def _version(upload: Upload) -> dict[str, Any]:
    """Which version of what the new dataset is. Two at a time get different numbers."""
    if upload.version_of is None:
        return {}
    first_id = upload.version_of.first_id or upload.version_of.pk
    Dataset.objects.select_for_update().get(pk=first_id)
    newest = Dataset.objects.filter(Q(first=first_id) | Q(pk=first_id)).aggregate(
        most=Max("version")
    )["most"]
    return {"first_id": first_id, "version": newest + 1, "name": upload.version_of.name}


def _kind(last: Progress) -> str:
    is_code = last.file_format == codecheck.FILE_FORMAT
    return Dataset.Kind.CODE if is_code else Dataset.Kind.UPLOADED


def _owner(upload: Upload) -> User:
    """A version is whose the first one is, whoever sent it."""
    return upload.owner if upload.version_of is None else upload.version_of.owner


def _created(upload: Upload, last: Progress, report: RowReport) -> Dataset:
    columns = {
        "name": Path(upload.filename).stem[:200] or upload.filename[:200],
        "columns": upload.columns,
        "kind": _kind(last),
        **_bytes_store(upload, last),
        "index_name": _index_store(upload),
        **_found(report),
        **_version(upload),
    }
    dataset = Dataset.objects.create(owner=_owner(upload), **columns)
    if upload.version_of is not None:
        shares_copy(source=upload.version_of, target=dataset)
    return dataset


def _judged_again(upload: Upload, last: Progress, report: RowReport) -> Dataset:
    """The rows under other names. One that was deleted meanwhile, or could not be checked, stays as it is."""
    dataset = Dataset.objects.select_for_update().get(pk=upload.recheck_of_id or 0)
    if dataset.deleted_at is not None or not last.sha256:
        return dataset
    before = dataset.index_name
    changed = {"columns": upload.columns, "index_name": _index_store(upload), **_found(report)}
    for name, value in changed.items():
        setattr(dataset, name, value)
    dataset.save(update_fields=list(changed))
    if before and before != dataset.index_name:
        transaction.on_commit(lambda: default_storage.delete(before))
    return dataset


def verdict_store(*, upload: Upload, last: Progress) -> Dataset:
    """Turn a checked upload into a dataset, READY or INVALID, in the name of its owner."""
    report = last.report or RowReport()
    if upload.sha256 and last.sha256 and upload.sha256 != last.sha256:
        report.errors = [RowError(line=0, id="rows:sha256_differs"), *report.errors]
        report.error_count += 1
    with set_actor(upload.owner), transaction.atomic():
        if upload.recheck_of_id is None:
            dataset = _created(upload, last, report)
        else:
            dataset = _judged_again(upload, last, report)
        Upload.objects.filter(pk=upload.pk).update(dataset=dataset, checked_bytes=upload.size_bytes)
    spool.spool_delete(upload.pk)
    return dataset
