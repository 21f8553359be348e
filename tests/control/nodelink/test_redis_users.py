"""Each node's account in a real Redis: its agent works with it, and has nothing of a neighbour."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.exceptions

from loraforge.core import celery as core_celery
from loraforge.core import redis as core_redis
from loraforge.core.models import OutboxMessage
from loraforge.nodelink import redis_users
from loraforge.nodes.models import Node
from loraforge.nodes.services import REDIS_USERS_TASK, node_add, node_token_renew
from nodeagent import worker
from tests.agent.plane import AgentProcess, Plane, start_command
from tests.redisserver import RedisServer

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


@pytest.fixture
def server(redis_server_binary: Path, tmp_path: Path, settings: Any) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    with RedisServer(redis_server_binary, tmp_path / "redis") as running:
        settings.REDIS_URL = settings.AGENT_REDIS_URL = running.url()
        settings.REDIS_NODE_ACL = True
        core_redis.connection.cache_clear()
        yield running
        core_redis.connection.cache_clear()


@pytest.fixture
def n1(server: RedisServer) -> Node:
    """The node n1; there is n10 too."""
    node, _token = node_add(actor=None, name="n1")
    node_add(actor=None, name="n10")
    assert redis_users.users_review() == 2
    return node


def denied(server: RedisServer) -> list[str]:
    """What Redis refused to whom: ``user reason object``."""
    client = redis.Redis.from_url(server.url(), decode_responses=True)
    log: Any = client.execute_command("ACL", "LOG")
    client.close()
    return [f"{entry['username']} {entry['reason']} {entry['object']}" for entry in log]


@pytest.mark.slow
def test_an_agent_needs_nothing_else(server: RedisServer, n1: Node, tmp_path: Path) -> None:
    plane = Plane(server.url(), node="n1")
    plane.redis_url = redis_users.agent_redis_url(n1)  # what its agent is told when it joins
    assert "lf-node-n1:" in plane.redis_url
    agent = AgentProcess(plane, tmp_path / "node", models=tmp_path)
    try:
        agent.start()
        plane.send(start_command(1, ["-c", "print('worked')"]))
        plane.wait_whole(1)
        assert agent.end() == 0
    finally:
        refused = denied(server)
        agent.close()
        plane.close()
        assert refused == []


@pytest.mark.parametrize(
    "command",
    [
        ("XADD", "lf:up:n10.", "*", "b", "x"),
        ("XRANGE", "lf:up:n10.", "-", "+"),
        ("HGETALL", "lf:ack:n10."),
        ("LPUSH", "node.n10.", "x"),
        ("BRPOP", "node.n10.", "1"),
        ("HSET", "unacked:n10.", "a", "b"),
        ("SADD", "_kombu.binding.node.n10.", "x"),
        ("XADD", "lf:live", "*", "t", "x"),
        ("LPUSH", "control", "x"),
        ("PUBLISH", "lf:layer", "x"),
        ("SUBSCRIBE", "/0.celeryev/x"),
        ("XREADGROUP", "GROUP", "ingest", "me", "STREAMS", "lf:up:n1.", ">"),
        ("EVAL", "return redis.call('GET', 'lf:live')", "0"),
        ("KEYS", "*"), ("SCAN", "0"), ("RANDOMKEY",), ("DBSIZE",), ("FLUSHALL",), ("CONFIG", "GET", "*"),
        ("ACL", "LIST"), ("CLIENT", "LIST"), ("MONITOR",), ("SHUTDOWN",), ("FUNCTION", "LIST"),
    ],
)  # fmt: skip
def test_a_neighbour_is_out_of_reach(
    server: RedisServer, n1: Node, command: tuple[str, ...]
) -> None:
    client = redis.Redis.from_url(redis_users.agent_redis_url(n1))
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command)
    client.close()


def test_a_renewed_token_shuts_the_old_password_out(server: RedisServer, n1: Node) -> None:
    old = redis.Redis.from_url(redis_users.agent_redis_url(n1), single_connection_client=True)
    old.hgetall("lf:ack:n1.")
    OutboxMessage.objects.all().delete()
    node_token_renew(actor=None, node=n1)
    assert OutboxMessage.objects.filter(target=REDIS_USERS_TASK).exists()
    assert redis_users.users_review() == 1
    assert redis_users.users_review() == 0
    with pytest.raises((redis.ConnectionError, redis.AuthenticationError)):
        old.hgetall("lf:ack:n1.")
    n1.refresh_from_db()
    redis.Redis.from_url(redis_users.agent_redis_url(n1)).hgetall("lf:ack:n1.")


def test_accounts_outlive_a_crash_of_redis_and_a_node_that_is_gone_loses_its(
    server: RedisServer, n1: Node
) -> None:
    server.kill()
    server.start()
    redis.Redis.from_url(redis_users.agent_redis_url(n1)).hgetall("lf:ack:n1.")
    assert redis_users.users_review() == 0
    Node.objects.filter(pk=n1.pk).delete()
    assert redis_users.users_review() == 1
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(redis_users.agent_redis_url(n1)).ping()


def test_without_the_setting_agents_get_the_plain_url(settings: Any) -> None:
    settings.AGENT_REDIS_URL = "redis://agents:x@redis/0"
    node, _token = node_add(actor=None, name="n1")
    assert redis_users.agent_redis_url(node) == "redis://agents:x@redis/0"
    assert redis_users.users_review() == 0
    assert not OutboxMessage.objects.filter(target=REDIS_USERS_TASK).exists()


@pytest.mark.parametrize("broker_url", [core_celery.broker_url, worker.broker_url])
@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("rediss://u:p@r:6380/0", "rediss://u:p@r:6380/0?ssl_cert_reqs=required"),
        ("rediss://r/0?ssl_ca_certs=/ca", "rediss://r/0?ssl_ca_certs=/ca&ssl_cert_reqs=required"),
        ("rediss://r/0?ssl_cert_reqs=none", "rediss://r/0?ssl_cert_reqs=none"),
        ("redis://u:p@r/0", "redis://u:p@r/0"),
    ],
)
def test_the_brokers_certificate_is_checked(broker_url: Any, url: str, wanted: str) -> None:
    """kombu's own default takes any certificate; redis-py's does not."""
    assert broker_url(url) == wanted
