"""Uploads and downloads in MB/s, beside writing and sending the same bytes without any of us."""

import fcntl
import http.client
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import django

from tests.benchmarks.stage import Stage, cpu_s, free_port, wait_for_port

CHUNK_BYTES = 16 * 1024**2
PIPE_BYTES = 1024**2  # the most that Linux gives without being asked by root
TOKEN = "lfp_of-the-bench"  # of a throw-away installation
TUS = {"Tus-Resumable": "1.0.0", "Authorization": f"Bearer {TOKEN}"}


def run(stage: Stage, *, megabytes: int = 512, rounds: int = 3) -> dict[str, Any]:
    """The best of some rounds each, since the disk is shared; floors and ours take turns."""
    django.setup()
    size = megabytes * 1024**2
    source = _rows(stage.folder / "rows.jsonl", size)
    size = source.stat().st_size
    instance_id, node_port, node = _job_on_a_node(stage, source)
    wait_for_port(node_port, node)
    port, web = stage.web()
    best: dict[str, float] = {}

    def took(name: str, work: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        answer = work()
        rate = size / 1e6 / (time.perf_counter() - begin)
        best[name] = max(best.get(name, 0.0), rate)
        return answer

    took(
        "warm_up",
        lambda: _download(port, f"/api/v1/jobs/{instance_id}/artifacts/output/rows.jsonl"),
    )
    before = cpu_s(web)
    node_path = f"/api/v1/jobs/{instance_id}/artifacts/output/rows.jsonl"
    for _round in range(rounds):
        took("floor_write", partial(_write, stage.folder / "floor", source))
        address = took("upload_16_mib", partial(_upload, port, source, size, CHUNK_BYTES))
        dataset = took("check", partial(_wait_checked, port, address))
        other = took("upload_one_body", partial(_upload, port, source, size, size))
        _wait_checked(port, other)  # so that it disturbs nothing of what follows
        took("floor_sendfile", partial(_sendfile, source, size))
        took("floor_relayed", partial(_relayed, source, size))
        path = f"/api/v1/datasets/{dataset}/download/"
        took("download_dataset", partial(_download, port, path))
        took("download_through_node", partial(_download, port, node_path))
    del best["warm_up"]
    rates = {name: round(rate) for name, rate in best.items()}
    return {
        "megabytes": round(size / 1e6),
        "mb_per_s": rates,
        "upload_of_floor": round(best["upload_16_mib"] / best["floor_write"], 2),
        "download_of_floor": round(best["download_dataset"] / best["floor_sendfile"], 2),
        "node_download_of_floor": round(best["download_through_node"] / best["floor_relayed"], 2),
        "web_cpu_s": round(cpu_s(web) - before, 1),
        "web_peak_memory_mb": _peak_memory_mb(web.pid),
    }


def _rows(path: Path, size: int) -> Path:
    row = {
        "messages": [
            {"role": "user", "content": "ask " * 60},
            {"role": "assistant", "content": "tell " * 150},
        ]
    }
    block = (json.dumps(row) + "\n").encode() * 1000
    with path.open("wb") as file:
        while file.tell() < size:
            file.write(block)
    return path


def _job_on_a_node(stage: Stage, source: Path) -> tuple[int, int, Any]:
    """A running job whose output holds the file, its node's port and process."""
    # Django's models can be imported only after the stage chose the data folder.
    from loraforge.accounts.models import ApiToken  # noqa: PLC0415
    from loraforge.nodelink.tokens import file_key  # noqa: PLC0415
    from tests.benchmarks.rows import running_job  # noqa: PLC0415

    instance = running_job()
    ApiToken.objects.create(owner=instance.owner, name="bench", digest=ApiToken.digest_of(TOKEN))
    attempt = instance.attempts.get()
    port = free_port()
    attempt.node.file_url = f"http://127.0.0.1:{port}"
    attempt.node.save()
    output = stage.folder / "node" / "jobs" / str(instance.pk) / "a1" / "output"
    output.mkdir(parents=True)
    (output / source.name).hardlink_to(source)
    key = file_key(attempt.node).hex()
    folder = str(stage.folder / "node")
    process = stage.start(sys.executable, "-m", "tests.benchmarks.filenode", str(port), key, folder)
    return instance.pk, port, process


def _write(target: Path, source: Path) -> None:
    with source.open("rb") as data, target.open("wb", buffering=0) as file:
        while chunk := data.read(CHUNK_BYTES):
            file.write(chunk)
            os.fdatasync(file.fileno())
    target.unlink()


def _pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection to this machine itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _address = listener.accept()
    return ours, theirs


def _sendfile(source: Path, size: int) -> None:
    """From the disk's cache to one reader."""
    ours, theirs = _pair()
    with ours, theirs, _beside(_send, source, theirs):
        _receive(ours, size)


def _relayed(source: Path, size: int) -> None:
    """The same with somebody between, who moves it from one connection to the other without reading it."""
    near, node = _pair()
    ours, theirs = _pair()
    with (
        near,
        node,
        ours,
        theirs,
        _beside(_send, source, node),
        _beside(_splice, near, theirs, size),
    ):
        _receive(ours, size)


@contextmanager
def _beside(work: Callable[..., None], *given: Any) -> Iterator[None]:
    thread = threading.Thread(target=work, args=given)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _send(source: Path, target: socket.socket) -> None:
    with source.open("rb") as file:
        target.sendfile(file)


def _splice(source: socket.socket, target: socket.socket, size: int) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    while size > 0:
        held = os.splice(source.fileno(), writing, PIPE_BYTES)
        size -= held
        while held > 0:
            held -= os.splice(reading, target.fileno(), held)
    os.close(reading)
    os.close(writing)


def _receive(connection: socket.socket, size: int) -> None:
    buffer = bytearray(1024**2)
    left = size
    while left > 0:
        count = connection.recv_into(buffer)
        if not count:
            message = f"the connection ended {left} bytes early"
            raise RuntimeError(message)
        left -= count


def _download(port: int, path: str) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        lines = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        connection.sendall(lines.encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        headers, _blank, body = head.partition(b"\r\n\r\n")
        if not headers.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        length = next(
            line for line in headers.lower().split(b"\r\n") if line.startswith(b"content-length")
        )
        _receive(connection, int(length.split(b":")[1]) - len(body))


def _request(connection: http.client.HTTPConnection, method: str, path: str, **given: Any) -> Any:
    headers = {**TUS, **given.get("headers", {})}
    connection.request(method, path, body=given.get("body"), headers=headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: {answer.status} {text!r}")
    return answer, text


def _upload(port: int, source: Path, size: int, chunk_bytes: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    metadata = {"Upload-Length": str(size), "Upload-Metadata": "filename cm93cy5qc29ubA=="}
    answer, _text = _request(connection, "POST", "/api/v1/uploads/", headers=metadata)
    address = str(answer.headers["Location"])
    offset = 0
    with source.open("rb") as file:
        while offset < size:
            length = min(chunk_bytes, size - offset)
            headers = {
                "Upload-Offset": str(offset),
                "Content-Type": "application/offset+octet-stream",
                "Content-Length": str(length),
            }
            body = file.read(length) if chunk_bytes < size else file
            answer, _text = _request(connection, "PATCH", address, headers=headers, body=body)
            offset = int(answer.headers["Upload-Offset"])
    connection.close()
    return address


def _wait_checked(port: int, address: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    while True:
        _answer, text = _request(connection, "GET", address)
        found = json.loads(text)["dataset"]
        if found is not None:
            return int(found)
        time.sleep(0.02)


def _peak_memory_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024
