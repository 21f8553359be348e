"""Versions, shares, columns, the quota, and who is told of what."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.test import Client

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.datasets import checking, overlap, selectors, services, uploads
from loraforge.datasets.models import Dataset, DatasetState
from loraforge.datasets.rowcheck import Progress
from loraforge.datasets.rowindex import Index, IndexMaker, rows_shared
from loraforge.datasets.rows import RowReport
from loraforge.datasets.verdicts import verdict_store
from tests.factories.accounts import UserFactory
from tests.factories.datasets import UploadFactory, jsonl

pytestmark = pytest.mark.django_db


def checked(data: bytes, **given: Any) -> Dataset:
    upload = UploadFactory.create(
        size_bytes=len(data), offset_bytes=len(data), content=data, **given
    )
    dataset = checking.upload_check(upload_id=upload.pk)
    assert dataset is not None
    return dataset


def test_a_version_is_a_row_of_its_own_with_the_shares_of_the_one_before(client: Client) -> None:
    owner, reader = UserFactory.create(), UserFactory.create()
    first = checked(jsonl(3), owner=owner, filename="faq.jsonl")
    client.force_login(owner)
    shared = client.post(
        f"/api/v1/datasets/{first.pk}/shares/",
        {"kind": "user", "name": reader.username},
        content_type="application/json",
    )
    assert shared.status_code == 201, shared.content
    second = checked(jsonl(4), owner=owner, filename="other.jsonl", version_of=first)
    third = checked(jsonl(5), owner=owner, version_of=second)
    assert [(one.version, one.name, one.rows) for one in (second, third)] == [
        (2, "faq", 4), (3, "faq", 5)
    ]  # fmt: skip
    assert access.allowed(reader, Action.DOWNLOAD, third)
    assert [one.version for one in selectors.dataset_versions(user=reader, dataset=first)] == [
        3,
        2,
        1,
    ]
    taken = client.delete(f"/api/v1/datasets/{third.pk}/shares/?kind=user&name={reader.username}")
    assert taken.status_code == 204
    assert not access.allowed(reader, Action.VIEW, first)
    page = client.get(f"/datasets/{third.pk}/?row=3").content.decode()
    assert "Versions" in page


def test_who_says_what_columns_are_has_the_rows_checked_anew() -> None:
    rows = b'{"ask": "q", "chosen": "a", "rejected": "b"}\n' * 3
    dataset = checked(rows)
    assert dataset.state == DatasetState.INVALID
    mapping = {"ask": "query", "chosen": "response", "rejected": "rejected_response"}
    upload = services.dataset_columns_set(actor=dataset.owner, dataset=dataset, columns=mapping)
    assert checking.upload_check(upload_id=upload.pk) == dataset
    dataset.refresh_from_db()
    assert (dataset.state, dataset.rows, dataset.columns) == (DatasetState.READY, 3, mapping)
    assert dataset.traits == ["answer", "rejected"]
    found = selectors.dataset_rows(user=dataset.owner, dataset=dataset, offset=2, limit=5)
    assert found == [json.loads(rows.splitlines()[0])]


def test_a_recheck_brings_nothing_deleted_back_and_leaves_no_old_index(
    django_capture_on_commit_callbacks: Any,
) -> None:
    dataset = checked(b'{"ask": "q", "chosen": "a"}\n' * 3)
    mapping = {"ask": "query", "chosen": "response"}
    before = dataset.index_name
    operator = UserFactory.create(role="operator")
    upload = services.dataset_columns_set(actor=operator, dataset=dataset, columns=mapping)
    assert upload.owner == operator, "the audit log tells who asked"
    with django_capture_on_commit_callbacks(execute=True):
        checking.upload_check(upload_id=upload.pk)
    dataset.refresh_from_db()
    assert dataset.index_name != before
    assert not default_storage.exists(before)
    again = services.dataset_columns_set(actor=dataset.owner, dataset=dataset, columns={})
    services.dataset_delete(actor=dataset.owner, dataset=dataset)
    verdict_store(upload=again, last=Progress(done=0, sha256="a" * 64, report=RowReport(rows=7)))
    dataset.refresh_from_db()
    assert (dataset.preview, dataset.columns) == ([], mapping)


@pytest.mark.parametrize(
    "columns", [{"nothing": "query"}, {"chosen": "nonsense"}, {"ask": "query", "chosen": "query"}]
)
def test_columns_that_cannot_be_are_refused(columns: dict[str, str], client: Client) -> None:
    dataset = checked(b'{"ask": "q", "chosen": "a"}\n')
    client.force_login(dataset.owner)
    answer = client.post(
        f"/api/v1/datasets/{dataset.pk}/columns/",
        {"columns": columns},
        content_type="application/json",
    )
    assert answer.status_code == 400
    assert "columns" in str(answer.json()["error"]["fields"])


def test_nobody_keeps_more_than_the_quota(settings: Any) -> None:
    settings.DATASET_QUOTA_BYTES = 1000
    owner, operator = UserFactory.create(), UserFactory.create(role="operator")
    checked(jsonl(3), owner=owner)
    uploads.upload_create(actor=owner, filename="a.jsonl", size_bytes=500)
    with pytest.raises(uploads.TooLarge) as refused:
        uploads.upload_create(actor=owner, filename="b.jsonl", size_bytes=500)
    assert refused.value.error_id == "datasets:quota"
    uploads.upload_create(actor=operator, filename="b.jsonl", size_bytes=5000)


def test_rows_that_stand_in_both_are_found(tmp_path: Path) -> None:
    training, validation = checked(jsonl(50)), checked(jsonl(5, padding=0) + jsonl(5, padding=3))
    found = overlap.overlaps(training=[training], validation=[validation])
    assert [(one.rows, one.is_estimate) for one in found] == [(5, False)]


def index_of(numbers: range, folder: Path, *, hashes_max: int) -> Index:
    maker = IndexMaker(hashes_max=hashes_max)
    for number in numbers:
        maker.add(number * 10, number * 0x9E3779B97F4A7C15 % 2**64)
    path = folder / f"{numbers.start}-{numbers.stop}"
    with path.open("wb") as file:
        maker.write(file)
    with path.open("rb") as file:
        return Index(file)


def test_of_many_rows_the_shared_ones_are_an_estimate(tmp_path: Path) -> None:
    many = index_of(range(40_000), tmp_path, hashes_max=5_000)
    few = index_of(range(39_000, 41_000), tmp_path, hashes_max=5_000)
    assert len(many.hashes) <= 5_000
    rows, is_estimate = rows_shared(few, many)
    assert is_estimate
    assert 700 < rows < 1300
    place, offset = many.nearest(12_345)
    assert offset == place * 10
    assert 0 <= 12_345 - place < many.stride
