"""tus 1.0.0 over a real socket: every status, and what must survive a broken connection."""

import base64
import hashlib
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.test import Client
from django.utils import timezone

from loraforge.accounts.models import Role, User
from loraforge.datasets import spool, uploads
from loraforge.datasets.models import DatasetState, Upload
from tests.control.datasets.conftest import BODY, TUS, TusClient, dataset_of, row_of
from tests.factories.accounts import PASSWORD, UserFactory
from tests.factories.datasets import jsonl

pytestmark = pytest.mark.django_db(transaction=True)


def test_options_tells_what_is_spoken(web: str, settings: Any) -> None:
    answer = httpx.options(f"{web}/api/v1/uploads/")  # without signing in, without a version
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert set(answer.headers["Tus-Extension"].split(",")) == {
        "creation", "creation-with-upload", "termination", "checksum", "expiration"
    }  # fmt: skip
    assert answer.headers["Tus-Max-Size"] == str(settings.UPLOAD_MAX_BYTES)
    assert answer.headers["Tus-Checksum-Algorithm"] == "sha256,sha1"


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_file_becomes_a_ready_dataset(tus: TusClient, slash: str) -> None:
    data = jsonl(100, padding=1000)
    address = tus.begun(len(data), filename="my questions.jsonl").rstrip("/") + slash
    half = len(data) // 2
    first = tus.send_bytes(address, 0, data[:half])
    assert (first.status_code, first.headers["Upload-Offset"]) == (204, str(half))
    assert tus.offset(address) == half
    second = tus.send_bytes(address, half, data[half:])
    assert (second.status_code, second.headers["Upload-Offset"]) == (204, str(len(data)))

    dataset = dataset_of(address)
    assert dataset.state == DatasetState.READY
    assert (dataset.rows, dataset.row_format, dataset.name) == (100, "messages", "my questions")
    assert dataset.sha256 == hashlib.sha256(data).hexdigest()
    download = tus.get(f"/api/v1/datasets/{dataset.pk}/download/")
    assert download.content == data
    assert not spool.spool_path(row_of(address).pk).exists()
    # a client that lost the last answer asks again, and is content
    assert tus.offset(address) == len(data)
    assert tus.send_bytes(address, len(data), b"").status_code == 204


def test_head_says_how_far_it_is_and_is_never_cached(tus: TusClient) -> None:
    answer = tus.head(tus.begun(10, filename="数据.jsonl"), headers=TUS)
    assert answer.status_code == 200
    assert answer.content == b""
    assert answer.headers["Cache-Control"] == "no-store"
    assert (answer.headers["Upload-Offset"], answer.headers["Upload-Length"]) == ("0", "10")
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    key, value = answer.headers["Upload-Metadata"].split(" ")
    assert (key, base64.b64decode(value).decode()) == ("filename", "数据.jsonl")
    assert answer.headers["Upload-Expires"].endswith("GMT")


def test_creation_may_carry_the_first_bytes(tus: TusClient) -> None:
    data = jsonl(2)
    answer = tus.post(
        "/api/v1/uploads", headers={**BODY, "Upload-Length": str(len(data))}, content=data
    )
    assert answer.status_code == 201
    assert answer.headers["Upload-Offset"] == str(len(data))
    assert dataset_of(answer.headers["Location"]).rows == 2


@pytest.mark.parametrize("version", ["", "0.2.2", "1.0.1"])
def test_another_version_is_refused(tus: TusClient, version: str) -> None:
    address = tus.begun(10)
    for method, path in [
        ("POST", "/api/v1/uploads/"),
        ("PATCH", address),
        ("HEAD", address),
        ("DELETE", address),
    ]:
        answer = tus.request(method, path, headers={"Tus-Resumable": version})
        assert (answer.status_code, answer.headers["Tus-Version"]) == (412, "1.0.0")
    assert row_of(address).offset_bytes == 0


@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        ({}, 400, "datasets:length_wanted"),
        ({"Upload-Length": "-1"}, 400, "datasets:bad_header"),
        ({"Upload-Length": "ten"}, 400, "datasets:bad_header"),
        ({"Upload-Length": "٣"}, 400, "datasets:bad_header"),
        ({"Upload-Defer-Length": "1"}, 400, "datasets:length_wanted"),
        ({"Upload-Length": "9" * 18}, 413, "datasets:upload_too_large"),
        ({"Upload-Length": "9", "Upload-Metadata": "filename ***"}, 400, "datasets:bad_metadata"),
        (
            {"Upload-Length": "9", "Upload-Metadata": "filename YQ==,filename YQ=="},
            400,
            "datasets:bad_metadata",
        ),
        (
            {"Upload-Length": "9", "Upload-Metadata": "filename ZGF0YS5neg=="},
            400,
            "datasets:type_not_accepted",
        ),
        (
            {
                "Upload-Length": "9",
                "Upload-Metadata": "filename YeKArmxub3NqLmpzb25s",
            },  # written from right to left
            400,
            "datasets:bad_filename",
        ),
    ],
)
def test_a_bad_creation_is_refused(
    tus: TusClient, headers: dict[str, str], status: int, error: str
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in {**TUS, **headers}.items()]
    answer = tus.post("/api/v1/uploads/", headers=raw)
    assert (answer.status_code, answer.json()["error"]["id"]) == (status, error)
    assert not Upload.objects.exists()


def test_a_full_disk_is_said_before_the_bytes_come(tus: TusClient, settings: Any) -> None:
    settings.UPLOAD_RESERVE_BYTES = spool.free_bytes() - 50_000_000
    assert tus.begin(100_000_000).status_code == 507
    assert tus.begin(100).status_code == 201


def test_what_others_still_announce_counts_against_the_disk(tus: TusClient, settings: Any) -> None:
    settings.UPLOAD_RESERVE_BYTES = spool.free_bytes() - 1_000_000_000
    assert tus.begin(800_000_000).status_code == 201
    assert tus.begin(800_000_000).status_code == 507


def test_a_patch_needs_its_content_type_and_offset(tus: TusClient) -> None:
    address = tus.begun(10)
    assert (
        tus.patch(address, headers={**TUS, "Upload-Offset": "0"}, content=b"x").status_code == 415
    )
    assert tus.patch(address, headers=BODY, content=b"x").status_code == 400
    wrong = tus.send_bytes(address, 3, b"x")
    assert (wrong.status_code, wrong.json()["error"]["id"]) == (409, "datasets:offset_differs")
    assert tus.offset(address) == 0


def test_more_bytes_than_announced_are_refused(tus: TusClient) -> None:
    address = tus.begun(10)
    for body in (b"x" * 11, iter([b"x" * 6, b"x" * 6])):  # with its length, and without one
        refused = tus.send_bytes(address, 0, body)
        assert refused.status_code == 413
        error = refused.json()["error"]
        assert (error["id"], list(error["fields"])) == (
            "datasets:body_too_long",
            ["Upload-Length"],
        )
        assert "at most 10 bytes" in error["message"]
    assert tus.offset(address) == 0
    assert tus.send_bytes(address, 0, b"x" * 4).status_code == 204


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_checksums(tus: TusClient, algorithm: str) -> None:
    data = jsonl(3)
    address = tus.begun(len(data))

    def checksum(of: bytes) -> str:
        return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, of).digest()).decode()}"

    damaged = tus.send_bytes(address, 0, data[:50], **{"Upload-Checksum": checksum(b"other")})
    assert damaged.status_code == 460
    assert tus.offset(address) == 0
    assert spool.spool_path(row_of(address).pk).stat().st_size == 0
    unknown = tus.send_bytes(address, 0, data[:50], **{"Upload-Checksum": "md5 abcd"})
    assert unknown.status_code == 400
    for begin, end in [(0, 50), (50, len(data))]:
        part = data[begin:end]
        assert (
            tus.send_bytes(address, begin, part, **{"Upload-Checksum": checksum(part)}).status_code
            == 204
        )
    assert dataset_of(address).state == DatasetState.READY


def test_the_method_may_stand_in_a_header(tus: TusClient) -> None:
    address = tus.begun(100)
    headers = {**BODY, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert tus.post(address, headers=headers, content=b"x" * 10).status_code == 204
    assert tus.offset(address) == 10
    assert tus.post(address, headers={**TUS, "X-HTTP-Method-Override": "DELETE"}).status_code == 204
    assert tus.head(address, headers=TUS).status_code == 404


def test_termination_removes_row_and_bytes(tus: TusClient) -> None:
    address = tus.begun(100)
    tus.send_bytes(address, 0, b"x" * 10)
    path = spool.spool_path(row_of(address).pk)
    assert path.exists()
    assert tus.delete(address, headers=TUS).status_code == 204
    assert not path.exists()
    assert tus.send_bytes(address, 10, b"x").status_code == 404
    assert tus.delete(address, headers=TUS).status_code == 404


def test_an_expired_upload_is_gone(tus: TusClient) -> None:
    address = tus.begun(100)
    path = spool.spool_path(row_of(address).pk)
    Upload.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert tus.head(address, headers=TUS).status_code == 410
    assert tus.send_bytes(address, 0, b"x").status_code == 410
    assert uploads.uploads_expire() == 1
    assert tus.head(address, headers=TUS).status_code == 404
    assert not path.exists()


def test_bytes_that_vanished_are_said_to_be_gone(tus: TusClient) -> None:
    address = tus.begun(100)
    spool.spool_path(row_of(address).pk).unlink()
    assert tus.send_bytes(address, 0, b"x").status_code == 410


def test_unknown_addresses_and_methods(tus: TusClient) -> None:
    nobody = "/api/v1/uploads/00000000-0000-0000-0000-000000000000/"
    assert tus.head(nobody, headers=TUS).status_code == 404
    assert tus.delete("/api/v1/uploads/", headers=TUS).status_code == 405
    assert tus.post(nobody, headers=TUS).status_code == 405


def test_strangers_and_viewers_upload_nothing(web: str, tus: TusClient) -> None:
    address = tus.begun(10)
    assert (
        httpx.post(f"{web}/api/v1/uploads/", headers={**TUS, "Upload-Length": "1"}).status_code
        == 401
    )
    wrong = {**TUS, "Authorization": "Bearer lfp_wrong"}
    assert httpx.head(f"{web}{address}", headers=wrong).status_code == 401
    with TusClient(url=web, user=UserFactory.create(role=Role.VIEWER)) as viewer:
        assert viewer.begin(1).status_code == 403


@pytest.mark.parametrize("role", [Role.RESEARCHER, Role.OPERATOR, Role.ADMIN])
def test_uploads_of_others_do_not_exist(web: str, tus: TusClient, role: Role) -> None:
    address = tus.begun(10)
    with TusClient(url=web, user=UserFactory.create(role=role)) as other:
        assert other.head(address, headers=TUS).status_code == 404
        assert other.send_bytes(address, 0, b"x").status_code == 404
        assert other.delete(address, headers=TUS).status_code == 404
        assert other.get(address).status_code == 404
        assert other.get("/api/v1/uploads/").json()["count"] == 0
    assert tus.get("/api/v1/uploads/").json()["count"] == 1


def test_a_page_uploads_with_its_session_and_csrf_token(web: str, owner: User) -> None:
    signed_in = Client()
    assert signed_in.login(username=owner.username, password=PASSWORD)
    session = signed_in.cookies["sessionid"].value
    token = "t" * 32
    cookies = {"sessionid": session, "csrftoken": token}
    headers = {**TUS, "Upload-Length": "5"}
    with httpx.Client(base_url=web, cookies=cookies, trust_env=False) as page:
        assert page.post("/api/v1/uploads/", headers=headers).status_code == 403
        forged = {**headers, "X-CSRFToken": token, "Origin": "https://evil.example"}
        assert page.post("/api/v1/uploads/", headers=forged).status_code == 403
        own = {**headers, "X-CSRFToken": token, "Origin": web}
        assert page.post("/api/v1/uploads/", headers=own).status_code == 201


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "rows:empty"),
        (b'{"messages": []}\n', "rows:not_a_list"),
        (b"PK\x03\x04 and the rest of a zip", "rows:container"),
    ],
)
def test_what_cannot_be_trained_on_is_kept_and_says_why(
    tus: TusClient, content: bytes, error: str
) -> None:
    address = tus.begun(len(content))
    if content:
        tus.send_bytes(address, 0, content)
    dataset = dataset_of(address)
    shown = tus.get(f"/api/v1/datasets/{dataset.pk}/").json()
    assert shown["state"] == "invalid"
    assert shown["errors"][0]["id"] == error
    assert shown["errors"][0]["message"] != error


def test_an_announced_hash_that_does_not_fit_makes_it_unusable(tus: TusClient) -> None:
    data = jsonl(2)
    for digest, state in [("0" * 64, "invalid"), (hashlib.sha256(data).hexdigest(), "ready")]:
        said = base64.b64encode(digest.encode()).decode()
        address = tus.begun(
            len(data), **{"Upload-Metadata": f"filename cm93cy5qc29ubA==,sha256 {said}"}
        )
        tus.send_bytes(address, 0, data)
        assert dataset_of(address).state == state


def test_messages_are_json_and_name_no_secret(tus: TusClient) -> None:
    answer = tus.begin(10, filename="a.tar.gz")
    assert json.loads(answer.content)["error"]["fields"] == {"filename": ["a.tar.gz"]}
    assert "lfp_" not in answer.text
