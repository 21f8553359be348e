"""From the last byte to the dataset: what happens when the check dies, is doubled, or never starts."""

import hashlib
from datetime import timedelta

import pytest
from auditlog.models import LogEntry
from django.core.files.storage import default_storage
from django.utils import timezone

from loraforge.core.errors import Locked
from loraforge.datasets import checking, spool, uploads
from loraforge.datasets.checking import CheckFailed, checks_resume, upload_check
from loraforge.datasets.models import Dataset, DatasetState, Upload
from loraforge.datasets.rowcheck import Progress
from loraforge.datasets.tasks import uploads_sweep_task
from loraforge.datasets.verdicts import storage_name, verdict_store
from tests.control.webserver import wait_until
from tests.factories.datasets import UploadFactory, jsonl

DATA = jsonl(50)


def complete_upload() -> Upload:
    made: Upload = UploadFactory.create(size_bytes=len(DATA), offset_bytes=len(DATA), content=DATA)
    return made


def test_a_check_makes_the_dataset_in_its_owners_name(db: None) -> None:
    upload = complete_upload()
    dataset = upload_check(upload_id=upload.pk)
    assert dataset is not None
    assert (dataset.state, dataset.rows, dataset.owner) == (DatasetState.READY, 50, upload.owner)
    assert dataset.sha256 == hashlib.sha256(DATA).hexdigest()
    with default_storage.open(dataset.storage_name) as file:
        assert file.read() == DATA
    assert "rows" not in dataset.storage_name
    entry = LogEntry.objects.get_for_object(dataset).get()
    assert entry.actor == upload.owner
    assert upload_check(upload_id=upload.pk) is None  # a second time changes nothing
    assert Dataset.objects.count() == 1


def test_two_checkers_never_meet(db: None) -> None:
    upload = complete_upload()
    uploads.lock_take(upload_id=upload.pk)
    with pytest.raises(Locked):
        upload_check(upload_id=upload.pk)


def test_a_check_that_breaks_is_tried_again_and_given_up_in_the_end(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = complete_upload()
    monkeypatch.setattr(checking, "_run", lambda *_given: Progress(done=3))
    for _try in range(uploads.MAX_CHECK_TRIES):
        with pytest.raises(CheckFailed):
            upload_check(upload_id=upload.pk)
    dataset = upload_check(upload_id=upload.pk)
    assert dataset is not None
    assert (dataset.state, dataset.errors[0]["id"]) == (DatasetState.INVALID, "rows:check_failed")


def test_a_crash_between_storage_and_commit_is_healed(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = complete_upload()
    real = Dataset.objects.create

    def crash(**given: object) -> Dataset:
        real(**given)
        message = "the process died here"
        raise RuntimeError(message)

    monkeypatch.setattr(Dataset.objects, "create", crash)
    with pytest.raises(RuntimeError):
        upload_check(upload_id=upload.pk)
    assert default_storage.exists(storage_name(upload))
    monkeypatch.undo()
    dataset = upload_check(upload_id=upload.pk)
    assert dataset is not None
    assert dataset.storage_name == storage_name(upload)
    assert default_storage.size(dataset.storage_name) == len(DATA)


def test_the_child_process_reports_progress_and_a_verdict(db: None) -> None:
    upload = complete_upload()
    token = uploads.lock_take(upload_id=upload.pk)
    last = checking._run(upload, token)
    assert last.report is not None
    assert (last.done, last.report.rows) == (len(DATA), 50)
    upload.refresh_from_db()
    assert upload.checked_bytes == len(DATA)
    assert verdict_store(upload=upload, last=last).pk


@pytest.mark.django_db(transaction=True)
def test_the_sweep_takes_up_what_a_dead_process_left() -> None:
    upload = complete_upload()
    Upload.objects.update(
        locked_until=timezone.now() - timedelta(seconds=1), lock_token="of a dead process"
    )
    unfinished = UploadFactory.create(size_bytes=100, offset_bytes=10, content=b"x" * 10)
    expired = UploadFactory.create(expires_at=timezone.now() - timedelta(seconds=1))
    uploads_sweep_task()
    wait_until(lambda: Upload.objects.get(pk=upload.pk).dataset_id)
    wait_until(lambda: not checking._waiting)
    assert Upload.objects.get(pk=unfinished.pk).dataset_id is None
    assert not Upload.objects.filter(pk=expired.pk).exists()
    assert not spool.spool_path(expired.pk).exists()
    assert checks_resume() == []
