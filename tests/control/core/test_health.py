"""Alive, ready, counted."""

from typing import Any

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_process_lives(client: Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.redis
def test_ready_means_database_and_redis(client: Client, redis_url: str, settings: Any) -> None:
    settings.REDIS_URL = redis_url
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]) == (200, {"database": "ok", "redis": "ok"})
    settings.REDIS_URL = "unix:///nowhere/redis.sock?db=0"
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert answer.json()["checks"]["database"] == "ok"
    assert answer.json()["checks"]["redis"] != "ok"


def test_counters_are_for_this_machine_or_the_token(client: Client, settings: Any) -> None:
    assert b"django_http_requests_total_by_method" in client.get("/metrics").content
    assert client.get("/metrics", REMOTE_ADDR="192.0.2.1").status_code == 403
    assert client.get("/metrics", REMOTE_ADDR="nonsense").status_code == 403
    assert client.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 403
    settings.METRICS_TOKEN = "secret"
    assert client.get("/metrics").status_code == 403
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 403
    granted = client.get(
        "/metrics", headers={"Authorization": "Bearer secret"}, REMOTE_ADDR="192.0.2.1"
    )
    assert granted.status_code == 200
