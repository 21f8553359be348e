"""The agent's connection to Redis."""

from typing import Any

import redis


def redis_client(url: str) -> "redis.Redis":
    """A client whose calls end: no command hangs on a frozen server."""
    tcp: dict[str, Any] = {} if url.startswith("unix:") else {"socket_keepalive": True}
    return redis.Redis.from_url(
        url, socket_timeout=5.0, socket_connect_timeout=2.0, health_check_interval=15, **tcp
    )
