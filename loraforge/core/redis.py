"""Connections to Redis, made in one place so that every one has deadlines."""

from functools import cache

import redis
import redis.asyncio
from django.conf import settings


@cache
def connection() -> "redis.Redis":
    """This process's pooled connection; no call blocks longer than a few seconds."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=5,
        socket_connect_timeout=2,
        health_check_interval=30,
    )


def connection_blocking() -> "redis.Redis":
    """A connection of its own for one reader that blocks in XREAD (at most `block_ms` below 10 s)."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=15, socket_connect_timeout=2)


def connection_async() -> "redis.asyncio.Redis":
    """A connection for one asyncio reader."""
    return redis.asyncio.Redis.from_url(
        settings.REDIS_URL, socket_timeout=15, socket_connect_timeout=2
    )
