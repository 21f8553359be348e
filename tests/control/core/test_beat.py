import json
import threading
import time
from typing import TYPE_CHECKING

import pytest

from loraforge.core import beat
from tests.control.gateway.conftest import broker, client

if TYPE_CHECKING:
    import redis

__all__ = ["broker", "client"]
pytestmark = pytest.mark.redis


def test_hints_come_at_once_and_again_and_expire(
    broker: str, client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beat, "_hints", {})
    beat.every(0.05, "a.often")
    beat.every(100, "a.rarely")
    stopping = threading.Event()
    thread = threading.Thread(target=beat.Beat(stopping).run)
    thread.start()
    deadline = time.monotonic() + 10
    while client.llen("control") < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    stopping.set()
    thread.join(5)
    assert not thread.is_alive()
    headers = [json.loads(raw)["headers"] for raw in client.lrange("control", 0, -1)]
    names = [header["task"] for header in headers]
    assert names.count("a.rarely") == 1
    assert names.count("a.often") >= 3
    assert all(header["expires"] for header in headers)


def test_the_platforms_own_hints_are_known_tasks() -> None:
    assert {"scheduling.instances_place", "gateway.nodes_review"} <= {
        hint.task for hint in beat.hints()
    }
