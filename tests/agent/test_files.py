"""The file service over HTTP: tokens, ranges, and what it never hands out."""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from nodeagent.contract.filetokens import token_sign
from nodeagent.files import FileService
from nodeagent.workspace import Workspace
from tests.agent.plane import wait_for

KEY = b"k" * 32
CONTENT = os.urandom(2_500_000)
PATH = "/jobs/7/a1/output/checkpoint 5/adapter é.bin"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[str]:
    workspace = Workspace(tmp_path)
    job = workspace.job(7, 1)
    job.create()
    (job.output / "checkpoint 5").mkdir()
    (job.output / "checkpoint 5/adapter é.bin").write_bytes(CONTENT)
    (job.output / "empty").touch()
    (job.output / "link").symlink_to("/etc/passwd")
    os.mkfifo(job.output / "fifo")
    (job.path / "run/pids").write_text("1 2")
    sock = socket.create_server(("127.0.0.1", 0))
    files = FileService(workspace=workspace, key=KEY, sock=sock)
    files.start()
    wait_for(lambda: files._server.started)
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    files.stop()


def sign(path: str, *, method: str = "GET", age_s: int = 60, now: float | None = None) -> str:
    return token_sign(key=KEY, method=method, path=path, user="u1", age_s=age_s, now=now)


def fetch(service: str, path: str, *, method: str = "GET", **headers: str) -> httpx.Response:
    return httpx.request(
        method,
        service + quote(path),
        params={"token": sign(path)},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def test_whole_file(service: str) -> None:
    answer = fetch(service, PATH)
    assert answer.status_code == 200
    assert answer.content == CONTENT
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["last-modified"].endswith("GMT")


def test_bearer_serves_as_well(service: str) -> None:
    headers = {"Authorization": f"Bearer {sign(PATH)}"}
    assert httpx.get(service + quote(PATH), headers=headers).content == CONTENT


def test_head_takes_the_token_of_get(service: str) -> None:
    answer = fetch(service, PATH, method="HEAD")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(CONTENT))


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=1000000-", 1_000_000, len(CONTENT)),
        ("bytes=5-1500000", 5, 1_500_001),
        ("bytes=-10", len(CONTENT) - 10, len(CONTENT)),
        ("bytes=-99999999", 0, len(CONTENT)),
        ("bytes=10-99999999", 10, len(CONTENT)),
    ],
)
def test_ranges(service: str, asked: str, start: int, end: int) -> None:
    answer = fetch(service, PATH, range=asked)
    assert answer.status_code == 206
    assert answer.content == CONTENT[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
def test_ranges_outside(service: str, asked: str) -> None:
    answer = fetch(service, PATH, range=asked)
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"


# Python refuses to read numbers of some thousand digits: everybody could have a 500 and a trace in the log.
MANY = "9" * 5000


@pytest.mark.parametrize(
    "asked",
    [
        *("bytes=0-1,5-6", "lines=1-2", "bytes=5-2", "bytes=-"),
        *(f"bytes={MANY}-", f"bytes=-{MANY}", f"bytes=0-{MANY}"),
    ],
    ids=lambda asked: asked[:16],
)
def test_ranges_not_understood_give_all(service: str, asked: str) -> None:
    answer = fetch(service, PATH, range=asked)
    assert (answer.status_code, len(answer.content)) == (200, len(CONTENT))


def test_if_range(service: str) -> None:
    etag = fetch(service, PATH, method="HEAD").headers["etag"]
    assert fetch(service, PATH, range="bytes=0-9", if_range=etag).status_code == 206
    assert fetch(service, PATH, range="bytes=0-9", if_range='"other"').status_code == 200
    assert fetch(service, PATH, if_none_match=etag).status_code == 304


def test_an_empty_file(service: str) -> None:
    assert fetch(service, "/jobs/7/a1/output/empty").content == b""
    assert fetch(service, "/jobs/7/a1/output/empty", range="bytes=0-").status_code == 416


@pytest.mark.parametrize(
    "token",
    [
        "",
        "rubbish",
        sign("/jobs/8/a1/console.log"),
        sign(PATH, method="DELETE"),
        sign(PATH, now=time.time() - 1000),
        sign(PATH)[:-1] + "x",
    ],
    ids=["none", "rubbish", "other-path", "other-method", "expired", "altered"],
)
def test_wrong_tokens(service: str, token: str) -> None:
    answer = httpx.get(service + quote(PATH), params={"token": token})
    assert answer.status_code == 403
    assert CONTENT[:20] not in answer.content


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/7/a1/output/link",
        "/jobs/7/a1/output/fifo",
        "/jobs/7/a1/output",
        "/jobs/7/a1/output/none",
        "/jobs/7/a1/run/pids",
        "/jobs/7/a1/output/../run/pids",
        "/jobs/7/a2/console.log",
        "/jobs/x/a1/console.log",
    ],
)
def test_what_is_never_handed_out(service: str, path: str) -> None:
    raw = quote(path).replace("/../", "/%2E%2E/")
    answer = httpx.get(f"{service}{raw}?token={sign(path)}")
    assert answer.status_code == 404


def test_only_reading(service: str) -> None:
    assert httpx.post(service + quote(PATH), params={"token": sign(PATH)}).status_code == 405


def test_numbers_without_end_are_no_numbers(service: str) -> None:
    bearer = {"Authorization": f"Bearer {MANY}.u1.00"}
    assert httpx.get(service + quote(PATH), headers=bearer).status_code == 403
    assert fetch(service, f"/jobs/{MANY}/a1/output/x").status_code == 404


def test_a_path_writes_no_line_of_its_own_into_the_log(
    service: str, caplog: pytest.LogCaptureFixture
) -> None:
    httpx.get(service + quote("/jobs/7/a1/\x1b[31m\n2026 ERROR forged"))
    fetch(service, "/jobs/7/a1/output/\x1b[31m\rforged")
    ours = [line.getMessage() for line in caplog.records if line.name == "nodeagent.files"]
    assert all(line.isprintable() for line in ours)


def test_the_log_holds_no_token(service: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = sign(PATH)
    httpx.Client().get(service + quote(PATH), params={"token": token})
    httpx.Client().get(service + quote(PATH), params={"token": token + "x"})
    ours = [line for line in caplog.records if not line.name.startswith(("httpx", "httpcore"))]
    assert any("200" in line.getMessage() for line in ours)
    assert not any(token[-20:] in line.getMessage() for line in ours)


def _open_files() -> set[str]:
    names = set()
    for one in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            names.add(str(one.readlink()))
    return names


def test_a_slow_reader_gets_all_and_one_that_goes_away_leaves_nothing_open(
    service: str, tmp_path: Path
) -> None:
    big = Workspace(tmp_path).job(7, 1).output / "big.bin"
    content = os.urandom(1024) * (32 * 1024)
    big.write_bytes(content)
    address, params = (
        f"{service}/jobs/7/a1/output/big.bin",
        {"token": sign("/jobs/7/a1/output/big.bin")},
    )
    with httpx.Client() as client:
        with client.stream("GET", address, params=params) as answer:
            pieces = answer.iter_raw(1024**2)
            got = [next(pieces)]
            time.sleep(0.1)  # longer than a thread waits
            got.extend(pieces)
        assert b"".join(got) == content
        os.truncate(big, 1024**3)  # more than all buffers hold
        with client.stream("GET", address, params=params) as answer:
            pieces = answer.iter_raw(1000)
            next(pieces)
            assert str(big) in _open_files()
    wait_for(lambda: str(big) not in _open_files())
    assert fetch(service, PATH, Range="bytes=7-9").content == CONTENT[7:10]


async def test_behind_another_server_a_file_is_read(tmp_path: Path) -> None:
    job = Workspace(tmp_path).job(7, 1)
    job.create()
    (job.output / "a.bin").write_bytes(CONTENT)
    listener = socket.create_server(("127.0.0.1", 0))
    app = FileService(workspace=Workspace(tmp_path), key=KEY, sock=listener).app
    path = "/jobs/7/a1/output/a.bin"
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://node"
    ) as client:
        answer = await client.get(path, params={"token": sign(path)}, headers={"Range": "bytes=3-"})
    listener.close()
    assert (answer.status_code, answer.content) == (206, CONTENT[3:])
