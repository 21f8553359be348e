"""Output files: what the manifest says, and bytes that come from a real file service unchanged."""

import asyncio
import hashlib
import io
import os
import time
import zipfile
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from django.utils import timezone
from msgspec import structs
from rest_framework.test import APIClient

from loraforge.accounts import sharing
from loraforge.accounts.models import User
from loraforge.artifacts import services
from loraforge.artifacts.downloads import zip_names
from loraforge.artifacts.models import BestCheckpoint, OutputFile
from loraforge.artifacts.roles import checkpoint_of, role_of
from loraforge.artifacts.services import best_checkpoint_read, manifest_store
from loraforge.asgi import application
from loraforge.core import events
from loraforge.core.errors import BodyBroken, NotFound, Unavailable
from loraforge.core.models import OutboxMessage
from loraforge.instances.models import Attempt
from loraforge.nodelink import files as nodefiles
from loraforge.nodelink.files import file_path
from loraforge.nodes.models import Node
from nodeagent.contract.reports import File
from nodeagent.workspace import Workspace
from tests.control.artifacts.conftest import FILES, manifest_of, put
from tests.control.webserver import served, wait_until
from tests.factories.accounts import ApiTokenFactory

ClientOf = Callable[[User | None], APIClient]
ADAPTER = "output/checkpoint-6/adapter_model.safetensors"
BYTES = FILES[ADAPTER]
SIZE = len(BYTES)


def body_of(response: Any) -> bytes:
    async def read() -> bytes:
        return b"".join([piece async for piece in response])

    return asyncio.run(read())


def address(attempt: Attempt, path: str = "") -> str:
    return f"/api/v1/jobs/{attempt.instance_id}/artifacts/{quote(path)}"


# --- the manifest ---


def test_a_manifest_is_taken_over_and_what_it_lacks_is_gone(attempt: Attempt) -> None:
    left = {path: data for path, data in FILES.items() if "checkpoint-6" not in path}
    left["output/args.json"] = b'{"changed": 1}'
    for _twice in range(2):
        manifest_store(attempt=attempt, files=manifest_of(left), complete=True)
        present = OutputFile.objects.filter(attempt=attempt, removed_at=None)
        assert {row.path: row.size_bytes for row in present} == {
            path: len(data) for path, data in left.items()
        }
        assert OutputFile.objects.filter(attempt=attempt).count() == len(FILES)
    manifest_store(attempt=attempt, files=manifest_of(FILES), complete=True)
    assert OutputFile.objects.filter(attempt=attempt, removed_at=None).count() == len(FILES)


def test_paths_that_lead_out_are_left_out(attempt: Attempt) -> None:
    bad = dict.fromkeys(
        ("../x", "/etc/passwd", "a/../../b", "a//b", "", "x" * 1001, "a\x00b", "a\nb", "a\x1bb"),
        b"",
    )
    manifest_store(attempt=attempt, files=manifest_of({**FILES, **bad}), complete=True)
    assert OutputFile.objects.filter(attempt=attempt, removed_at=None).count() == len(FILES)


def test_deleting_an_instance_with_its_files_marks_them(attempt: Attempt) -> None:
    events.emit(events.INSTANCE_DELETED, instance=attempt.instance, files=False)
    assert OutputFile.objects.filter(removed_at=None).count() == len(FILES)
    events.emit(events.INSTANCE_DELETED, instance=attempt.instance, files=True)
    assert not OutputFile.objects.filter(removed_at=None).exists()


def test_the_best_checkpoint_is_asked_of_the_node(
    attempt: Attempt, client_of: ClientOf, alice: User
) -> None:
    asked = OutboxMessage.objects.get(target=services.BEST_TASK)
    assert asked.payload == {"attempt_id": attempt.pk}
    assert best_checkpoint_read(attempt=attempt) is not None
    assert BestCheckpoint.objects.get().step == 6
    rows = client_of(alice).get(address(attempt)).json()["results"]
    marks = {row["path"]: row["checkpoint"] for row in rows}
    assert marks[ADAPTER] == {
        "step": 6,
        "path": "output/checkpoint-6",
        "is_latest": False,
        "is_best": True,
    }
    assert marks["output/checkpoint-12/optimizer.pt"]["is_latest"] is True
    assert marks["console.log"] is None


@pytest.mark.parametrize("said", [b'{"best_model_checkpoint": "\xff"}', b'{"a": ' + b"[" * 100_000])
def test_a_trainer_s_word_that_cannot_be_read_leaves_the_best_checkpoint_unknown(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(services, "file_read", lambda **_facts: said)
    assert best_checkpoint_read(attempt=attempt) is None


def test_a_silent_node_leaves_the_best_checkpoint_unknown(attempt: Attempt) -> None:
    Node.objects.update(file_url="http://127.0.0.1:9")
    assert (
        best_checkpoint_read(attempt=Attempt.objects.select_related("node").get(pk=attempt.pk))
        is None
    )


@pytest.mark.parametrize(
    ("path", "role", "checkpoint"),
    [
        ("output/checkpoint-6/adapter_model.safetensors", "adapter", ("output/checkpoint-6", 6)),
        (
            "output/checkpoint-6/model-00001-of-00002.safetensors",
            "weights",
            ("output/checkpoint-6", 6),
        ),
        ("output/checkpoint-6/rng_state_0.pth", "checkpoint", ("output/checkpoint-6", 6)),
        ("console.log", "log", None),
        ("output/logging.jsonl", "metrics", None),
        ("output/args.json", "arguments", None),
        ("output/runs/events.out.tfevents.1.x", "curve", None),
        ("output/my-checkpoint-6/x", "other", None),
        ("output/checkpoint-x/x", "other", None),
    ],
)
def test_roles(path: str, role: str, checkpoint: tuple[str, int] | None) -> None:
    assert (role_of(path), checkpoint_of(path)) == (role, checkpoint)


# --- the API ---


def test_the_list_is_paged_filtered_and_counts_few_queries(
    client_of: ClientOf, alice: User, attempt: Attempt, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(8):
        page = client_of(alice).get(address(attempt)).json()
    assert page["count"] == len(FILES)
    first = next(row for row in page["results"] if row["path"] == ADAPTER)
    assert (first["attempt"], first["size_bytes"]) == (1, SIZE)
    assert first["sha256"] == hashlib.sha256(BYTES).hexdigest()
    assert (
        client_of(alice).get(f"{address(attempt)}?prefix=output/checkpoint-12/").json()["count"]
        == 4
    )
    assert client_of(alice).get(f"{address(attempt)}?attempt=2").json()["count"] == 0


@pytest.mark.parametrize("path", list(FILES))
def test_every_file_arrives_as_it_is(
    client_of: ClientOf, alice: User, attempt: Attempt, path: str
) -> None:
    answer = client_of(alice).get(address(attempt, path))
    assert answer.status_code == 200
    assert body_of(answer) == FILES[path]
    assert answer["Content-Length"] == str(len(FILES[path]))
    assert answer["ETag"] == f'"{hashlib.sha256(FILES[path]).hexdigest()}"'
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "case",
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=1000000-2000000", 206, 1_000_000, 2_000_001),
        (f"bytes={SIZE - 1}-", 206, SIZE - 1, SIZE),
        ("bytes=-10", 206, SIZE - 10, SIZE),
        (f"bytes=0-{SIZE * 2}", 206, 0, SIZE),
        ("bytes=0-1,5-6", 200, 0, SIZE),
        ("bytes=5-1", 200, 0, SIZE),
        (f"bytes={SIZE}-", 416, 0, 0),
    ],
)
@pytest.mark.parametrize("is_running", [False, True])
def test_ranges(
    client_of: ClientOf, attempt: Attempt, case: tuple[str, int, int, int], is_running: bool
) -> None:
    alice = attempt.instance.owner
    header, status, begin, end = case
    if is_running:
        Attempt.objects.update(ended_at=None)
    answer = client_of(alice).get(address(attempt, ADAPTER), headers={"Range": header})
    assert answer.status_code == status
    if status == 416:
        assert answer["Content-Range"] == f"bytes */{SIZE}"
        return
    assert body_of(answer) == BYTES[begin:end]
    assert answer.get("Content-Range") == (
        f"bytes {begin}-{end - 1}/{SIZE}" if status == 206 else None
    )


@pytest.mark.parametrize("is_running", [False, True])
def test_a_resumed_download_is_whole(
    client_of: ClientOf, alice: User, attempt: Attempt, is_running: bool
) -> None:
    if is_running:
        Attempt.objects.update(ended_at=None)
    client, path = client_of(alice), address(attempt, ADAPTER)
    first = client.get(path, headers={"Range": "bytes=0-1234567"})
    got = body_of(first)
    rest = client.get(path, headers={"Range": f"bytes={len(got)}-", "If-Range": first["ETag"]})
    assert rest.status_code == 206
    assert got + body_of(rest) == BYTES
    other = client.get(path, headers={"Range": "bytes=5-", "If-Range": '"another version"'})
    assert other.status_code == 200
    assert body_of(other) == BYTES
    assert client.get(path, headers={"If-None-Match": first["ETag"]}).status_code == 304


def test_head_has_the_size_and_no_body(client_of: ClientOf, alice: User, attempt: Attempt) -> None:
    answer = client_of(alice).head(address(attempt, ADAPTER))
    assert (answer.status_code, answer["Content-Length"], answer.content) == (200, str(SIZE), b"")


def test_only_the_owner_and_his_guests_download(
    client_of: ClientOf, alice: User, bob: User, olga: User, attempt: Attempt
) -> None:
    paths = [
        address(attempt),
        address(attempt, "console.log"),
        address(attempt).rstrip("/") + ".zip",
    ]
    assert [client_of(olga).get(path).status_code for path in paths] == [200, 403, 403]
    assert [client_of(bob).get(path).status_code for path in paths] == [404, 404, 404]
    assert [client_of(None).get(path).status_code for path in paths] == [401, 401, 401]
    sharing.share_grant(
        actor=alice, row=attempt.instance, codename="download_instance", username="bob"
    )
    assert [client_of(bob).get(path).status_code for path in paths] == [200, 200, 200]


@pytest.mark.parametrize(
    "path",
    ["nothing", "output/nothing", "inputs/train.jsonl", "run/exit", "output/../inputs/x", "../../2/a1/console.log",
     "output//args.json", "/etc/passwd"],
)  # fmt: skip
@pytest.mark.parametrize("is_running", [False, True])
def test_what_is_no_output_file_is_not_there(
    client_of: ClientOf, attempt: Attempt, workspace: Workspace, path: str, is_running: bool
) -> None:
    alice = attempt.instance.owner
    put(workspace.job(attempt.instance_id, 1), {"inputs/train.jsonl": b"secret", "run/exit": b"0"})
    if is_running:
        Attempt.objects.update(ended_at=None)
    assert client_of(alice).get(address(attempt, path)).status_code == 404


@pytest.mark.parametrize("path", ["a/../b", "..", ".", "", "/a", "a/", "a\nb", "a//b"])
def test_the_node_is_never_asked_for_a_crooked_path(path: str) -> None:
    with pytest.raises(NotFound):
        file_path(instance_id=1, attempt=1, path=path)


def test_a_running_attempt_gives_what_no_manifest_has_yet(
    client_of: ClientOf, alice: User, attempt: Attempt, workspace: Workspace
) -> None:
    second = Attempt.objects.create(instance=attempt.instance, number=2, node=attempt.node)
    new = {"console.log": b"second life\n", "output/runs/x.bin": b"new"}
    put(workspace.job(attempt.instance_id, 2), new)
    client = client_of(alice)
    assert body_of(client.get(address(attempt, "console.log"))) == b"second life\n"
    assert body_of(client.get(address(attempt, "output/runs/x.bin"))) == b"new"
    assert body_of(client.get(address(attempt, ADAPTER))) == BYTES  # only the first one has it
    assert (
        body_of(client.get(f"{address(attempt, 'console.log')}?attempt=1")) == FILES["console.log"]
    )
    second.ended_at = timezone.now()
    second.save()
    assert client.get(address(attempt, "output/runs/x.bin")).status_code == 404


def test_a_checkpoint_in_the_making_is_handed_out_once_a_manifest_names_it_whole(
    client_of: ClientOf, alice: User, attempt: Attempt, workspace: Workspace
) -> None:
    second = Attempt.objects.create(instance=attempt.instance, number=2, node=attempt.node)
    path = "output/checkpoint-18/optimizer.pt"
    put(workspace.job(attempt.instance_id, 2), {path: b"half of it"})
    client = client_of(alice)

    def refused() -> str:
        answer = client.get(address(attempt, path))
        assert answer.status_code == 404
        return str(answer.json()["error"]["message"])

    assert "not saved whole yet" in refused()
    [half] = manifest_of({path: b"half of it"})
    manifest_store(attempt=second, files=[structs.replace(half, is_cut=True)], complete=False)
    assert "not saved whole yet" in refused()
    put(workspace.job(attempt.instance_id, 2), {path: b"half of it, and the rest"})
    whole = manifest_of({path: b"half of it, and the rest"})
    manifest_store(attempt=second, files=whole, complete=False)
    assert body_of(client.get(address(attempt, path))) == b"half of it, and the rest"


def test_a_node_that_is_away_is_said_to_be(
    client_of: ClientOf, alice: User, attempt: Attempt
) -> None:
    for file_url in ("http://127.0.0.1:9", "", "file:///etc"):
        Node.objects.update(file_url=file_url)
        answer = client_of(alice).get(address(attempt, ADAPTER))
        assert answer.status_code == 503
        assert answer.json()["error"]["id"] == "nodelink:node_unreachable"
        assert "n1" in answer.json()["error"]["message"]


def test_a_file_that_shrinks_on_its_way_is_no_whole_file(
    attempt: Attempt, workspace: Workspace
) -> None:
    size = 64 * 1024**2
    put(workspace.job(attempt.instance_id, 1), {"output/shrinks.bin": bytes(size)})
    target = workspace.job(attempt.instance_id, 1).path / "output/shrinks.bin"
    with nodefiles.file_open(
        node=attempt.node,
        instance_id=attempt.instance_id,
        attempt=1,
        path="output/shrinks.bin",
        user="1",
    ) as file:
        assert file.read()
        os.truncate(target, size // 2)
        with pytest.raises(Unavailable):
            deque(iter(file.read, b""), maxlen=0)


def test_a_node_that_does_not_know_our_key_refuses(
    client_of: ClientOf, alice: User, attempt: Attempt
) -> None:
    Node.objects.update(token_digest="of another token")
    answer = client_of(alice).get(address(attempt, ADAPTER))
    assert (answer.status_code, answer.json()["error"]["id"]) == (503, "nodelink:node_refused")


def test_a_folder_as_zip(client_of: ClientOf, alice: User, attempt: Attempt) -> None:
    path = f"/api/v1/jobs/{attempt.instance_id}/artifacts.zip?prefix=output/"
    answer = client_of(alice).get(path)
    data = body_of(answer)
    assert (answer["Content-Type"], answer["Content-Length"]) == ("application/zip", str(len(data)))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            path: content for path, content in FILES.items() if path.startswith("output/")
        }
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    empty = client_of(alice).get(f"/api/v1/jobs/{attempt.instance_id}/artifacts.zip?prefix=nothing")
    assert empty.status_code == 404


@pytest.mark.parametrize(
    ("paths", "wanted"),
    [
        (["output/a.txt", "模型/b"], ["output/a.txt", "模型/b"]),
        (["..\\..\\evil.exe", "C:\\x", "a:b"], [".._.._evil.exe", "C__x", "a_b"]),
        (["a_b.x", "a:b.x", "a\\b.x"], ["a_b.x", "a_b (2).x", "a_b (3).x"]),
        (["f/.x:", "f/.x\\"], ["f/.x_", "f/.x_ (2)"]),
    ],
)
def test_names_in_a_zip_mean_the_same_everywhere(paths: list[str], wanted: list[str]) -> None:
    assert zip_names(paths) == wanted


def test_the_weights_alone_as_zip(client_of: ClientOf, alice: User, attempt: Attempt) -> None:
    base = f"/api/v1/jobs/{attempt.instance_id}/artifacts.zip"
    answer = client_of(alice).get(f"{base}?content=weights")
    assert f"job-{attempt.instance_id}-lora-weights.zip" in answer["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(body_of(answer))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            f"checkpoint-12/{name}": FILES[f"output/checkpoint-12/{name}"]
            for name in ("adapter_config.json", "adapter_model.safetensors")
        }
    broken = client_of(alice).get(f"{base}?content=weights&prefix=output/checkpoint-6/")
    assert broken.json()["error"]["id"] == "artifacts:no_weights", "its configuration is missing"
    odd = client_of(alice).get(f"{base}?content=some")
    assert "content" in odd.json()["error"]["fields"]
    whole = client_of(alice).get(f"{base}?prefix=output/checkpoint-12/")
    assert f"job-{attempt.instance_id}-checkpoint-12.zip" in whole["Content-Disposition"]
    body_of(whole)


def test_a_zip_has_no_backslash(
    client_of: ClientOf, alice: User, attempt: Attempt, workspace: Workspace
) -> None:
    odd = {"output/..\\..\\evil.exe": b"MZ", "output/fine.txt": b"x"}
    put(workspace.job(attempt.instance_id, 1), odd)
    manifest_store(attempt=attempt, files=manifest_of(odd), complete=True)
    data = body_of(client_of(alice).get(f"/api/v1/jobs/{attempt.instance_id}/artifacts.zip"))
    assert b"\\" not in data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {one.filename: archive.read(one) for one in archive.infolist()} == {
            "output/.._.._evil.exe": b"MZ",
            "output/fine.txt": b"x",
        }


def test_a_zip_of_which_a_file_vanishes_has_no_end(
    client_of: ClientOf, alice: User, attempt: Attempt, workspace: Workspace
) -> None:
    answer = client_of(alice).get(f"/api/v1/jobs/{attempt.instance_id}/artifacts.zip")
    (workspace.job(attempt.instance_id, 1).path / "output/args.json").unlink()
    with pytest.raises(BodyBroken):
        body_of(answer)


# --- through the real web process ---


@pytest.mark.django_db(transaction=True)
def test_a_browser_that_goes_away_closes_the_fetch_at_the_node(
    alice: User, attempt: Attempt, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = {"output/big.bin": bytes(64 * 1024**2)}
    put(workspace.job(attempt.instance_id, 1), big)
    manifest_store(attempt=attempt, files=manifest_of(big), complete=True)
    closed: list[int] = []
    close = nodefiles.NodeFile.close

    def noted(self: nodefiles.NodeFile) -> None:
        closed.append(self._relay.left if self._relay else self._left or 0)
        close(self)

    monkeypatch.setattr(nodefiles.NodeFile, "close", noted)
    ApiTokenFactory.create(owner=alice, text="lfp_of-alice")
    headers = {"Authorization": "Bearer lfp_of-alice"}
    with (
        served(application) as url,
        httpx.Client(base_url=url, headers=headers, trust_env=False) as client,
    ):
        with client.stream("GET", address(attempt, "output/big.bin")) as answer:
            assert answer.status_code == 200
            next(answer.iter_raw(1000))
        wait_until(lambda: closed)
        assert closed[0] > 0  # it was far from its end
        whole = client.get(address(attempt, "output/big.bin"))
        assert (
            hashlib.sha256(whole.content).digest() == hashlib.sha256(big["output/big.bin"]).digest()
        )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_kept_from_pipes", [False, True])
def test_a_file_that_shrinks_is_no_whole_file_for_a_slow_browser_either(
    alice: User,
    attempt: Attempt,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_kept_from_pipes: bool,
) -> None:
    begin, size = (
        os.urandom(1024) * 16 * 1024,
        1024**3,
    )  # more than all buffers hold; a hole after 16 MiB
    put(workspace.job(attempt.instance_id, 1), {"output/big.bin": begin})
    path = workspace.job(attempt.instance_id, 1).path / "output/big.bin"
    os.truncate(path, size)
    listed = File(path="output/big.bin", size_bytes=size, sha256="0" * 64, modified_at=1.7e9)
    manifest_store(attempt=attempt, files=[listed], complete=True)
    if is_kept_from_pipes:
        monkeypatch.setattr(nodefiles.NodeFile, "pouring", lambda _self: None)
    ApiTokenFactory.create(owner=alice, text="lfp_of-alice")
    headers = {"Authorization": "Bearer lfp_of-alice", "Range": "bytes=5-"}
    with (
        served(application) as url,
        httpx.Client(base_url=url, headers=headers, trust_env=False) as client,
        client.stream("GET", address(attempt, "output/big.bin")) as answer,
    ):
        pieces = answer.iter_raw(1024**2)
        got = next(pieces)
        time.sleep(0.1)  # all of the way's buffers are full now, and the threads have gone on
        os.truncate(path, len(begin) // 2 + 1)
        rest: list[bytes] = []
        with pytest.raises(httpx.RemoteProtocolError):
            rest.extend(pieces)
    assert answer.status_code == 206
    got += b"".join(rest)
    assert len(got) < size - 5
    kept = len(begin) // 2 + 1 - 5  # of what was cut off the kernel may have sent zeros
    assert got[:kept] == begin[5 : 5 + min(kept, len(got))]
