"""Live frames: one Redis stream, `lf:live`, that every web process reads once (design.md "Fan-out")."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from nodeagent.contract.channels import LIVE_STREAM

if TYPE_CHECKING:
    import redis

# About a minute of a busy platform; a reader that is further behind closes its gap by GET.
MAX_ENTRIES = 20_000

_encode = msgspec.json.Encoder().encode


def topic_job(instance_id: int) -> str:
    """Frames of one job: train_status, log, metric."""
    return f"job:{instance_id}"


TOPIC_NODES = "nodes"


def topic_user(user_id: int) -> str:
    """Notices of one user."""
    return f"user:{user_id}"


def publish(connection: "redis.Redis", frames: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Append frames, (topic, frame) each, in one round trip. Raises redis.RedisError."""
    pipeline = connection.pipeline(transaction=False)
    frames_add(pipeline, frames)
    pipeline.execute()


def frames_add(pipeline: Any, frames: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """The same as part of a round trip of redis-py that the caller makes."""
    for topic, frame in frames:
        pipeline.xadd(
            LIVE_STREAM,
            {"t": topic.encode(), "f": _encode(frame)},
            maxlen=MAX_ENTRIES,
            approximate=True,
        )
