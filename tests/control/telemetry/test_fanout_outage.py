"""The reader of live frames while Redis is away, and how it is ended."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from loraforge.core import live
from loraforge.core.fanout import Fanout

if TYPE_CHECKING:
    import redis

pytestmark = pytest.mark.redis

AWAY = "unix:///nowhere/redis.sock?db=0"


async def test_an_outage_sends_nobody_to_sql_until_it_is_over(
    redis_client: "redis.Redis", settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    here, reader = settings.REDIS_URL, Fanout()
    async with reader.subscribe("job:1") as subscriber:
        settings.REDIS_URL = AWAY
        redis_client.client_kill_filter(skipme=True)
        early = asyncio.ensure_future(subscriber.next())
        done, _waiting = await asyncio.wait({early}, timeout=1.5)
        assert not done, "a resync while Redis is away makes every watcher read SQL again and again"
        assert len([one for one in caplog.records if "trying again" in one.message]) == 1
        settings.REDIS_URL = here
        back = await asyncio.wait_for(early, 10)
        assert back is not None
        assert back.kind == "resync"
        live.publish(redis_client, [("job:1", {"type": "marker"})])
        fresh = await asyncio.wait_for(subscriber.next(), 10)
        assert fresh is not None
        assert fresh.kind == "marker", "one resync an outage is enough"
    await asyncio.wait_for(reader.stop(), 5)


async def test_a_reader_that_meets_the_unexpected_reads_on(
    redis_client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Fanout()
    deliver, failures = reader._deliver, iter([RuntimeError("unexpected")])

    def failing(entries: Any) -> int:
        for failure in failures:
            raise failure
        return deliver(entries)

    async with reader.subscribe("job:1") as subscriber:
        monkeypatch.setattr(reader, "_deliver", failing)
        live.publish(redis_client, [("job:1", {"type": "first"})])
        kinds = []
        while "second" not in kinds:
            live.publish(redis_client, [("job:1", {"type": "second"})])
            frame = await asyncio.wait_for(subscriber.next(), 10)
            assert frame is not None
            kinds.append(frame.kind)
        assert "resync" in kinds
    await asyncio.wait_for(reader.stop(), 5)


async def test_a_cancel_that_is_swallowed_does_not_hold_up_the_end(
    redis_client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen once: the task went on reading after it was cancelled, and `stop` waited for ever."""
    reader = Fanout()
    swallowed = 0

    async def deaf() -> None:
        nonlocal swallowed
        reader._begin()
        while True:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 1:
                    raise

    monkeypatch.setattr(reader, "_read", deaf)
    async with reader.subscribe("job:1"):
        pass
    # Not wait_for: its own cancel would do what `stop` has to do.
    ended, _waiting = await asyncio.wait({asyncio.ensure_future(reader.stop())}, timeout=5)
    assert ended
    assert swallowed == 2
