"""The Celery side of the agent: its settings, its keys, and the canary."""

import time
from typing import Any

import pytest
import redis

from nodeagent.contract import channels
from nodeagent.worker import Canary, celery_app
from tests.agent.plane import AgentProcess, Plane, start_command, wait_for

pytestmark = pytest.mark.redis


def test_settings_that_reliability_rests_on() -> None:
    app = celery_app(node="n1", redis_url="unix:///r.sock?db=0", handle=lambda _plain: None)
    conf, options = app.conf, app.conf.broker_transport_options
    assert conf.accept_content == ["json"]
    assert conf.worker_prefetch_multiplier == 1
    assert conf.task_acks_late
    assert conf.broker_connection_max_retries is None
    assert options["visibility_timeout"] == 600
    keys = [options[f"unacked_{part}key"] for part in ("", "index_", "mutex_")]
    assert len(set(keys)) == 3
    assert all(key.startswith("unacked:n1.") for key in keys)


def test_a_redis_that_refuses_is_waited_for(plane: Plane, agent: AgentProcess) -> None:
    """As one whose disk is full (MISCONF) does: Celery calls that unrecoverable and would end."""
    client = redis.Redis.from_url(plane.redis_url)
    process = agent.process
    assert process is not None
    client.config_set("min-replicas-to-write", "1")
    try:
        wait_for(lambda: "NOREPLICAS" in agent.log.read_text(), what="a refusal")
        wait_for(lambda: agent.log.read_text().count("NOREPLICAS") > 2, what="some more")
        assert process.poll() is None
    finally:
        client.config_set("min-replicas-to-write", "0")
    plane.send(start_command(1, ["-c", "pass"]))
    plane.wait_whole(1)
    assert process.poll() is None
    assert "Traceback" not in agent.log.read_text()


def test_no_key_of_a_node_is_one_of_its_neighbours(plane: Plane, agent: AgentProcess) -> None:
    plane.send(start_command(1, ["-c", "pass"]))
    plane.wait_whole(1)
    client = redis.Redis.from_url(plane.redis_url, decode_responses=True)
    found: Any = client.keys("*")
    allowed = ("lf:up:n1.", "lf:ack:n1.", "unacked:n1.", "node.n1.", "_kombu.", "celeryev", "/0.")
    assert [key for key in found if not key.startswith(allowed)] == []
    assert client.hlen("unacked:n1.") == 0
    client.close()


def test_commands_that_are_not_understood_are_answered(plane: Plane, agent: AgentProcess) -> None:
    for plain in ({"type": "dance", "id": "d-1"}, {"type": "stop", "id": "s-1"}, {"x": 1}, 7):
        plane._sender.send_task(
            channels.COMMAND_TASK,
            kwargs={"command": plain},
            queue=channels.command_queue(plane.node),
        )
    assert plane.result("d-1").error == "command:invalid"
    assert "mode" in plane.result("s-1").message or "instance" in plane.result("s-1").message
    plane.send(start_command(1, ["-c", "pass"]))
    plane.wait_whole(1)


def test_a_worker_that_consumes_no_more_ends(redis_url: str) -> None:
    app = celery_app(node="n1", redis_url=redis_url, handle=lambda _plain: None)
    codes: list[int] = []
    canary = Canary(app, every_s=0.02, dead_s=0.1, end=codes.append)
    canary.start()
    try:
        wait_for(lambda: codes)
        assert codes[0] != 0
    finally:
        canary.stop()
        app.close()


def test_a_canary_that_comes_back_keeps_the_worker(redis_url: str) -> None:
    app = celery_app(node="n1", redis_url=redis_url, handle=lambda _plain: None)
    codes: list[int] = []
    canary = Canary(app, every_s=0.02, dead_s=0.2, end=codes.append)
    canary.start()
    until = time.monotonic() + 0.6
    while time.monotonic() < until:
        canary.sing()
        time.sleep(0.01)
    canary.stop()
    assert codes == []
    app.close()
