"""What must survive a broken connection, a dead process, and two writers at once."""

import base64
import hashlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.datasets import spool
from loraforge.datasets.models import Upload
from tests.control.datasets.conftest import BODY, TUS, TusClient, dataset_of, row_of
from tests.control.webserver import wait_until
from tests.factories.accounts import UserFactory
from tests.factories.datasets import jsonl

pytestmark = pytest.mark.django_db(transaction=True)


def broken_patch(
    web: str, address: str, offset: int, data: bytes, headers: dict[str, Any], *, rest: int
) -> None:
    """Send a chunk but for its last ``rest`` bytes, then break the connection off."""
    parts = urlsplit(web)
    lines = {
        **headers,
        **BODY,
        "Host": parts.netloc,
        "Upload-Offset": offset,
        "Content-Length": len(data),
    }
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        connection.sendall(
            f"PATCH {address} HTTP/1.1\r\n{head}\r\n".encode() + data[: len(data) - rest]
        )
        wait_until(lambda: row_of(address).lock_token)


def test_a_connection_that_breaks_in_a_chunk_costs_nothing_that_arrived(
    web: str, tus: TusClient
) -> None:
    data = jsonl(3000, padding=1000)
    address = tus.begun(len(data))
    headers = {"Authorization": tus.headers["Authorization"]}
    offset = 0
    for cut in (300_001, 700_001, 1_500_000):
        broken_patch(web, address, offset, data[offset:], headers, rest=len(data) - offset - cut)
        wait_until(lambda: row_of(address).lock_token == "")
        arrived = tus.offset(address)
        # the server below us drops what lies in its socket buffer when the connection breaks
        assert offset + cut - 256 * 1024 <= arrived <= offset + cut
        assert spool.spool_path(row_of(address).pk).read_bytes() == data[:arrived]
        offset = arrived
    assert tus.send_bytes(address, offset, data[offset:]).status_code == 204
    assert dataset_of(address).sha256 == hashlib.sha256(data).hexdigest()


def test_a_broken_chunk_with_a_checksum_counts_for_nothing(web: str, tus: TusClient) -> None:
    address = tus.begun(1000)
    tus.send_bytes(address, 0, b"x" * 100)
    digest = base64.b64encode(hashlib.sha1(b"y" * 900).digest()).decode()
    headers = {"Authorization": tus.headers["Authorization"], "Upload-Checksum": f"sha1 {digest}"}
    broken_patch(web, address, 100, b"y" * 900, headers, rest=400)
    wait_until(lambda: row_of(address).lock_token == "")
    assert tus.offset(address) == 100
    assert spool.spool_path(row_of(address).pk).stat().st_size == 100


def test_bytes_beyond_the_offset_are_cut_off_before_the_next_chunk(tus: TusClient) -> None:
    data = jsonl(5)
    address = tus.begun(len(data))
    tus.send_bytes(address, 0, data[:20])
    with spool.spool_path(row_of(address).pk).open("ab") as file:
        file.write(b"written, but the process died before the offset was stored" * 10)
    assert tus.offset(address) == 20
    assert tus.send_bytes(address, 20, data[20:]).status_code == 204
    assert dataset_of(address).sha256 == hashlib.sha256(data).hexdigest()


def test_the_second_writer_is_told_to_wait(web: str, tus: TusClient, owner: User) -> None:
    address = tus.begun(1000)
    may_end = threading.Event()

    def slowly() -> Any:
        yield b"a" * 500
        assert may_end.wait(20)
        yield b"a" * 500

    with ThreadPoolExecutor(max_workers=1) as pool:
        first = pool.submit(tus.send_bytes, address, 0, slowly())
        wait_until(lambda: row_of(address).lock_token)
        with httpx.Client(base_url=web, headers=tus.headers, trust_env=False) as second:
            answer = second.patch(
                address, headers={**BODY, "Upload-Offset": "0"}, content=b"b" * 1000
            )
            assert (answer.status_code, answer.json()["error"]["id"]) == (
                423,
                "datasets:upload_locked",
            )
            assert second.delete(address, headers=TUS).status_code == 423
        may_end.set()
        assert first.result(20).status_code == 204
    assert dataset_of(address).sha256 == hashlib.sha256(b"a" * 1000).hexdigest()


def test_a_lock_whose_holder_died_runs_out(tus: TusClient) -> None:
    address = tus.begun(100)
    Upload.objects.update(locked_until=timezone.now() + timedelta(seconds=60), lock_token="dead")
    assert tus.send_bytes(address, 0, b"x").status_code == 423
    Upload.objects.update(locked_until=timezone.now() - timedelta(seconds=1))
    assert tus.send_bytes(address, 0, b"x").status_code == 204


def test_a_file_lock_stops_a_writer_whose_row_lock_was_taken(tus: TusClient) -> None:
    address = tus.begun(100)
    sleeper = spool.SpoolWriter(row_of(address).pk, offset_bytes=0)  # its row lock has run out
    assert tus.send_bytes(address, 0, b"x").status_code == 423
    sleeper.close()
    assert tus.send_bytes(address, 0, b"x").status_code == 204


def test_many_people_upload_at_once(web: str) -> None:
    def one(number: int) -> tuple[str, bytes, str]:
        data = jsonl(200 + number, padding=3000)
        with TusClient(url=web, user=UserFactory.create(username=f"many{number}")) as client:
            address = client.begun(len(data))
            for begin in range(0, len(data), 100_000):
                assert (
                    client.send_bytes(address, begin, data[begin : begin + 100_000]).status_code
                    == 204
                )
        return address, data, f"many{number}"

    with ThreadPoolExecutor(max_workers=4) as pool:
        results = list(pool.map(one, range(6)))
    for address, data, name in results:
        dataset = dataset_of(address)
        assert dataset.sha256 == hashlib.sha256(data).hexdigest()
        assert dataset.owner.username == name
