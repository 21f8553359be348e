"""The API of datasets: who sees what, previews, Range, remote ids, deletion, inputs for nodes."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core import signing
from django.core.files.storage import default_storage
from django.utils import timezone
from rest_framework.test import APIClient

from loraforge.accounts import sharing
from loraforge.accounts.models import User
from loraforge.core import events
from loraforge.core.errors import Conflict, Gone
from loraforge.datasets.models import Dataset
from loraforge.datasets.selectors import INPUT_MAX_AGE_S, INPUT_SALT
from loraforge.datasets.services import datasets_sweep, input_url
from loraforge.datasets.streaming import Unsatisfiable, range_parse
from loraforge.instances.models import Instance
from loraforge.instances.states import TERMINAL, State
from loraforge.nodes.models import Node
from loraforge.training.models import JobDataset
from tests.factories.datasets import DatasetFactory, jsonl
from tests.factories.training import JobFactory

ClientOf = Callable[[User | None], APIClient]
CONTENT = jsonl(30)


def body_of(response: Any) -> bytes:
    """A streamed body, read as the server reads it: in an event loop."""

    async def read() -> bytes:
        return b"".join([piece async for piece in response])

    return asyncio.run(read())


@pytest.fixture
def dataset(alice: User) -> Dataset:
    made: Dataset = DatasetFactory.create(owner=alice, content=CONTENT)
    return made


def test_lists_are_paged_and_ones_own(
    client_of: ClientOf, alice: User, bob: User, dataset: Dataset
) -> None:
    DatasetFactory.create(owner=bob)
    page = client_of(alice).get("/api/v1/datasets/?page_size=1").json()
    assert (page["count"], [row["id"] for row in page["results"]]) == (1, [dataset.pk])
    assert client_of(alice).get("/api/v1/datasets/?search=nothing").json()["count"] == 0
    assert client_of(None).get("/api/v1/datasets/").status_code == 401


def test_an_operator_sees_datasets_but_no_rows(
    client_of: ClientOf, olga: User, dataset: Dataset
) -> None:
    client = client_of(olga)
    shown = client.get(f"/api/v1/datasets/{dataset.pk}/")
    assert shown.status_code == 200
    assert "preview" not in shown.json()
    for what in ("rows", "download"):
        assert client.get(f"/api/v1/datasets/{dataset.pk}/{what}/").status_code == 403


def test_a_stranger_sees_nothing_until_it_is_shared(
    client_of: ClientOf, alice: User, bob: User, dataset: Dataset
) -> None:
    client = client_of(bob)
    paths = [f"/api/v1/datasets/{dataset.pk}/{what}" for what in ("", "rows/", "download/")]
    assert [client.get(path).status_code for path in paths] == [404, 404, 404]
    sharing.share_grant(actor=alice, row=dataset, codename="use_dataset", username="bob")
    assert [client.get(path).status_code for path in paths] == [200, 200, 200]
    assert client.delete(paths[0]).status_code == 403


def test_rows_by_offset(client_of: ClientOf, alice: User, dataset: Dataset) -> None:
    answer = client_of(alice).get(f"/api/v1/datasets/{dataset.pk}/rows/?offset=28&limit=10").json()
    assert (answer["count"], answer["offset"]) == (30, 28)
    assert [row["messages"][0]["content"] for row in answer["rows"]] == ["28", "29"]
    bad = client_of(alice).get(f"/api/v1/datasets/{dataset.pk}/rows/?offset=-1")
    assert bad.status_code == 400


SIZE = len(CONTENT)


@pytest.mark.parametrize(
    "case",
    [
        ("", 200, 0, SIZE),
        ("bytes=0-0", 206, 0, 1),
        ("bytes=5-9", 206, 5, 10),
        (f"bytes={SIZE - 1}-", 206, SIZE - 1, SIZE),
        ("bytes=-7", 206, SIZE - 7, SIZE),
        (f"bytes=-{SIZE * 2}", 206, 0, SIZE),
        (f"bytes=10-{SIZE * 2}", 206, 10, SIZE),
        ("bytes=0-1,3-4", 200, 0, SIZE),
        ("bytes=9-5", 200, 0, SIZE),
        ("lines=0-1", 200, 0, SIZE),
        ("bytes=-", 200, 0, SIZE),
        (f"bytes={SIZE}-", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
    ],
)
def test_ranges(
    client_of: ClientOf, alice: User, dataset: Dataset, case: tuple[str, int, int, int]
) -> None:
    header, status, begin, end = case
    headers = {"Range": header} if header else {}
    answer = client_of(alice).get(f"/api/v1/datasets/{dataset.pk}/download/", headers=headers)
    assert answer.status_code == status
    assert answer["Accept-Ranges"] == "bytes"
    if status == 416:
        assert answer["Content-Range"] == f"bytes */{SIZE}"
        return
    assert body_of(answer) == CONTENT[begin:end]
    assert answer["Content-Length"] == str(end - begin)
    assert answer.get("Content-Range") == (
        f"bytes {begin}-{end - 1}/{SIZE}" if status == 206 else None
    )


def test_conditions(client_of: ClientOf, alice: User, dataset: Dataset) -> None:
    client, path = client_of(alice), f"/api/v1/datasets/{dataset.pk}/download/"
    etag = f'"{dataset.sha256}"'
    assert client.get(path, headers={"If-None-Match": f'"x", {etag}'}).status_code == 304
    same = client.get(path, headers={"Range": "bytes=0-1", "If-Range": etag})
    other = client.get(path, headers={"Range": "bytes=0-1", "If-Range": '"x"'})
    assert (same.status_code, other.status_code) == (206, 200)
    head = client.head(path)
    assert (head.status_code, head["Content-Length"], head.content) == (200, str(SIZE), b"")


def test_a_download_is_never_shown_inline(client_of: ClientOf, alice: User) -> None:
    dataset = DatasetFactory.create(owner=alice, name='<img src=x> "问答"\r\nX: y')
    answer = client_of(alice).get(f"/api/v1/datasets/{dataset.pk}/download/")
    assert answer["Content-Disposition"].startswith("attachment; filename*=utf-8''")
    assert "\n" not in answer["Content-Disposition"]
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Type"] == "application/octet-stream"
    answer.close()


def test_range_of_an_empty_file() -> None:
    assert range_parse("", 0) is None
    with pytest.raises(Unsatisfiable):
        range_parse("bytes=0-", 0)


@pytest.mark.parametrize(
    "remote_id",
    [
        "AI-ModelScope/alpaca-gpt4-data-zh",
        "HF::org/name",
        "MS::o/n:sub#500",
        "org/name#1",
        "org/name:a/b",
    ],
)
def test_remote_datasets(client_of: ClientOf, alice: User, remote_id: str) -> None:
    made = client_of(alice).post("/api/v1/datasets/", {"remote_id": remote_id})
    assert made.status_code == 201
    shown = made.json()
    assert (shown["kind"], shown["state"], shown["remote_id"], shown["name"]) == (
        "remote", "ready", remote_id, remote_id
    )  # fmt: skip
    path = f"/api/v1/datasets/{shown['id']}/download/"
    assert client_of(alice).get(path).json()["error"]["id"] == "datasets:remote"


@pytest.mark.parametrize(
    "remote_id",
    [
        "name",
        "a/b/c",
        "/etc/passwd",
        "../x/y",
        "o/n#0",
        "o/n#-1",
        "o/n --x",
        "XX::o/n",
        "o/n\n",
        "-o/n",
        "o/n;id",
    ],
)
def test_no_remote_dataset(client_of: ClientOf, alice: User, remote_id: str) -> None:
    answer = client_of(alice).post("/api/v1/datasets/", {"remote_id": remote_id})
    if remote_id == "o/n\n":  # the blank is stripped, what is left is an id
        assert answer.status_code == 201
        return
    assert answer.status_code == 400
    assert "remote_id" in answer.json()["error"]["fields"]


def test_a_viewer_names_none(client_of: ClientOf, vera: User) -> None:
    assert client_of(vera).post("/api/v1/datasets/", {"remote_id": "o/n"}).status_code == 403


@pytest.fixture
def in_use() -> Iterator[None]:
    def refuse(*, dataset: Dataset) -> None:
        raise Conflict("datasets:in_use", f"job #7 uses {dataset}")

    events.subscribe(events.DATASET_DELETING, refuse)
    yield
    events._handlers[events.DATASET_DELETING].remove(refuse)


def test_a_dataset_in_use_stays(
    client_of: ClientOf, alice: User, dataset: Dataset, in_use: None
) -> None:
    answer = client_of(alice).delete(f"/api/v1/datasets/{dataset.pk}/")
    assert (answer.status_code, answer.json()["error"]["id"]) == (409, "datasets:in_use")
    assert default_storage.exists(dataset.storage_name)
    assert client_of(alice).get(f"/api/v1/datasets/{dataset.pk}/").status_code == 200


def test_deleting_removes_the_bytes(
    client_of: ClientOf, alice: User, dataset: Dataset, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        assert client_of(alice).delete(f"/api/v1/datasets/{dataset.pk}/").status_code == 204
    assert not default_storage.exists(dataset.storage_name)
    assert client_of(alice).get(f"/api/v1/datasets/{dataset.pk}/").status_code == 404
    dataset.refresh_from_db()
    assert (dataset.storage_name, dataset.preview) == ("", [])


def test_bytes_that_outlived_a_crash_are_swept(db: None) -> None:
    dataset = DatasetFactory.create(deleted_at=timezone.now())
    kept = DatasetFactory.create()
    assert datasets_sweep() == 1
    assert not default_storage.exists(dataset.storage_name)
    assert default_storage.exists(kept.storage_name)


@pytest.fixture
def node(db: None) -> Node:
    return Node.objects.create(name="n1", token_digest=Node.digest_of("lfn_of-n1"))


def as_node(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer lfn_of-{name}"}


def test_a_node_fetches_its_input_in_parts(dataset: Dataset, node: Node) -> None:
    url = input_url(dataset=dataset, node=node)
    assert url.startswith("/api/v1/agent/inputs/")
    client = APIClient()
    whole = client.get(url, headers=as_node("n1"))
    assert (whole.status_code, whole["ETag"]) == (200, f'"{dataset.sha256}"')
    assert body_of(whole) == CONTENT
    rest = client.get(url, headers={**as_node("n1"), "Range": "bytes=100-"})
    assert (rest.status_code, body_of(rest)) == (206, CONTENT[100:])


def test_inputs_are_for_that_node_alone(
    client_of: ClientOf, alice: User, dataset: Dataset, node: Node
) -> None:
    Node.objects.create(name="n2", token_digest=Node.digest_of("lfn_of-n2"))
    url = input_url(dataset=dataset, node=node)
    assert APIClient().get(url).status_code == 401
    assert APIClient().get(url, headers=as_node("n3")).status_code == 401
    assert APIClient().get(url, headers=as_node("n2")).status_code == 403
    assert client_of(alice).get(url).status_code == 403  # a person is no node, owner or not
    assert APIClient().get(url[:-3] + "x/", headers=as_node("n1")).status_code == 403


def test_inputs_end(dataset: Dataset, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    url = input_url(dataset=dataset, node=node)
    with monkeypatch.context() as later:
        later.setattr(
            "django.core.signing.time.time",
            lambda: timezone.now().timestamp() + INPUT_MAX_AGE_S + 60,
        )
        assert APIClient().get(url, headers=as_node("n1")).status_code == 403
    Dataset.objects.update(deleted_at=timezone.now())
    assert APIClient().get(url, headers=as_node("n1")).status_code == 410
    dataset.refresh_from_db()
    with pytest.raises(Gone):
        input_url(dataset=dataset, node=node)
    claims = {"node": "n1", "dataset": dataset.pk, "sha256": "0" * 64}
    other = f"/api/v1/agent/inputs/{signing.dumps(claims, salt=INPUT_SALT)}/"
    assert APIClient().get(other, headers=as_node("n1")).status_code == 410


def test_jobs_that_have_not_ended_keep_their_datasets(
    client_of: ClientOf, alice: User, dataset: Dataset
) -> None:
    job = JobFactory.create(owner=alice)
    JobDataset.objects.create(job=job, dataset=dataset, sha256=dataset.sha256)
    client, path = client_of(alice), f"/api/v1/datasets/{dataset.pk}/"
    for state in State:
        Instance.objects.filter(pk=job.pk).update(state=state)
        if state not in TERMINAL:
            refused = client.delete(path)
            assert (refused.status_code, refused.json()["error"]["id"]) == (409, "datasets:in_use")
            assert f"#{job.pk} (alice)" in refused.json()["error"]["message"]
    Instance.objects.filter(pk=job.pk).update(state=State.SUCCEEDED)
    assert client.delete(path).status_code == 204
