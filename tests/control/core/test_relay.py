"""The outbox on its way to Redis."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.db import connection

from loraforge.core import live, outbox, relay
from loraforge.core import redis as core_redis
from loraforge.core.models import OutboxMessage
from nodeagent.contract.channels import LIVE_STREAM
from tests.control.gateway.conftest import broker, broker_use, client

if TYPE_CHECKING:
    import redis

__all__ = ["broker", "client"]
pytestmark = [pytest.mark.django_db, pytest.mark.redis]


def control_queue(client: "redis.Redis") -> list[str]:
    return [json.loads(raw)["headers"]["task"] for raw in reversed(client.lrange("control", 0, -1))]


def test_tasks_and_frames_leave_in_order_and_are_gone(broker: str, client: "redis.Redis") -> None:
    outbox.task_enqueue("a.one", number=1)
    outbox.frame_enqueue(live.topic_job(7), {"type": "x", "n": 1})
    outbox.frame_enqueue(live.topic_job(7), {"type": "x", "n": 2})
    outbox.task_enqueue("a.two")
    assert relay.outbox_drain() == 4
    assert control_queue(client) == ["a.one", "a.two"]
    entries: Any = client.xrange(LIVE_STREAM)
    frames = [json.loads(fields[b"f"])["n"] for _entry, fields in entries]
    assert frames == [1, 2]
    assert not OutboxMessage.objects.exists()
    assert relay.outbox_drain() == 0


@pytest.fixture
def dead_redis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broker: str) -> Iterator[None]:
    monkeypatch.setattr(settings, "REDIS_URL", f"unix://{tmp_path}/none.sock?db=0")
    core_redis.connection.cache_clear()
    broker_use(f"redis+socket://{tmp_path}/none.sock?virtual_host=0")
    yield
    core_redis.connection.cache_clear()


@pytest.mark.parametrize("kind", ["task", "frame"])
def test_while_redis_is_away_the_rows_stay(dead_redis: None, kind: str) -> None:
    if kind == "task":
        outbox.task_enqueue("a.one")
    else:
        outbox.frame_enqueue(live.TOPIC_NODES, {"type": "x"})
    one = relay.Relay(threading.Event())
    began = time.monotonic()
    assert one._turn(_Silent()) is not None
    assert time.monotonic() - began < 5
    assert OutboxMessage.objects.count() == 1


class _Silent:
    def wait(self, timeout_s: float) -> None:
        raise AssertionError("nothing was published, so there is nothing to wait for")

    def close(self) -> None:
        """Nothing is held."""


def test_the_alarm_sees_a_commit_within_milliseconds(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sqlite3")
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("CREATE TABLE t (x)")
    alarm = relay.SqliteAlarm(path)
    took: list[float] = []
    for _round in range(20):
        threading.Timer(0.01, writer.execute, ["INSERT INTO t VALUES (1)"]).start()
        began = time.monotonic()
        alarm.wait(5.0)
        took.append(time.monotonic() - began - 0.01)
    began = time.monotonic()
    alarm.wait(0.05)
    assert time.monotonic() - began >= 0.05, "without a commit it waits"
    alarm.close()
    assert sorted(took)[10] < 0.1


def test_a_second_relay_stands_by(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(connection.settings_dict, "NAME", str(tmp_path / "db.sqlite3"))
    monkeypatch.setattr(connection, "vendor", "sqlite")  # PostgreSQL skips locked rows instead
    stopping = threading.Event()
    with relay._only_one(threading.Event()) as first:
        assert first
        threading.Timer(0.1, stopping.set).start()
        with relay._only_one(stopping) as second:
            assert not second
    with relay._only_one(threading.Event()) as third:
        assert third
