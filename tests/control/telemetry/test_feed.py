"""A watcher is sent every line once, wherever it was cut off and whatever was lost on the way."""

import asyncio
import random
from collections import deque
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from loraforge.core import live
from loraforge.core.fanout import Fanout, Frame, Subscriber, fanout, join_logs, run_take
from loraforge.core.threads import in_thread
from loraforge.instances.models import Attempt
from loraforge.telemetry import services
from loraforge.telemetry.feed import JobFeed
from loraforge.telemetry.policy import START, Cursor
from nodeagent.contract.normalise import normalise
from tests.factories.telemetry import AttemptFactory, pieces_of

if TYPE_CHECKING:
    import redis

    from loraforge.telemetry.pieces import Piece
    from nodeagent.contract.reports import Stream

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.redis]


@pytest.fixture
def attempt() -> Attempt:
    row: Attempt = AttemptFactory.create()
    return row


def log_of(rng: random.Random) -> bytes:
    parts = [b"step\n", b"\r 1%", b"\r 2%", b"\n", b"\xe4\xb8\xad", b"\xff\x00", b"w" * 70_000]
    return b"".join(rng.choices(parts, weights=[60, 10, 10, 10, 5, 4, 1], k=400))


def metric_of(rng: random.Random) -> bytes:
    rows = (f'{{"loss": {rng.random()}, "global_step/max_steps": "{n}/60"}}\n' for n in range(60))
    return "".join(rows).encode()


async def write(client: "redis.Redis", attempt: Attempt, rng: random.Random) -> tuple[bytes, bytes]:
    """Store and publish a training's output; now and then a frame is lost or comes twice."""
    log, metric = log_of(rng), metric_of(rng)
    line_ends = [metric.find(b"\n", cut) + 1 for cut in range(0, len(metric), 300)]
    log_pieces = pieces_of(log, rng.sample(range(len(log)), 60))
    pieces: list[tuple[Stream, Piece]] = [("log", piece) for piece in log_pieces]
    pieces += [("metric", piece) for piece in pieces_of(metric, line_ends)]
    size = {"log": len(log), "metric": len(metric)}
    pieces.sort(key=lambda one: one[1].start / size[one[0]])
    for stream, piece in pieces:
        stored = await in_thread(services.chunk_store)(
            attempt=attempt, stream=stream, **piece._asdict()
        )
        if rng.random() < 0.8:
            live.publish(client, stored.frames)
        if rng.random() < 0.2:
            live.publish(client, stored.frames)
        await asyncio.sleep(rng.random() / 300)
    frames = await in_thread(services.stream_sizes_store)(attempt=attempt, sizes={"log": len(log)})
    live.publish(client, frames)
    return log, metric


async def watch(
    attempt: Attempt, rng: random.Random, ended: asyncio.Event
) -> tuple[list[str], list[int]]:
    """Follow with reconnections at random frames until nothing comes any more."""
    log, metric = START, START
    lines: list[str] = []
    steps: list[int] = []
    while True:
        feed = JobFeed(instance=attempt.instance, log_after=log, metric_after=metric)
        is_last = ended.is_set()
        fanout_before = rng.randint(1, 30)
        async with aclosing(feed.frames()) as frames:
            while fanout_before or is_last:
                fanout_before -= 1
                try:
                    frame = await asyncio.wait_for(anext(frames), 0.5)
                except TimeoutError:
                    break
                plain = read(frame)
                if plain["type"] == "log":
                    lines += plain["lines"]
                    log = Cursor(plain["attempt"], plain["to"])
                elif plain["type"] == "metric":
                    steps += [row["step"] for row in plain["rows"]]
                    metric = Cursor(plain["attempt"], plain["to"])
        if is_last:
            return lines, steps


def read(frame: Frame) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.json.decode(frame.raw)
    return plain


@pytest.mark.parametrize("seed", range(8))
async def test_nothing_is_repeated_and_nothing_missed(
    redis_client: "redis.Redis", attempt: Attempt, seed: int
) -> None:
    rng = random.Random(seed)
    ended = asyncio.Event()
    watchers = [
        asyncio.create_task(watch(attempt, random.Random(seed + n), ended)) for n in range(3)
    ]
    log, _metric = await write(redis_client, attempt, rng)
    ended.set()
    for lines, steps in await asyncio.gather(*watchers):
        assert lines == normalise(log)
        assert steps == list(range(60))
    await fanout().stop()


async def test_a_lost_redis_costs_latency_only(
    redis_client: "redis.Redis", attempt: Attempt
) -> None:
    """What was published while the reader was cut off comes from SQL."""
    feed = JobFeed(instance=attempt.instance, log_after=START, metric_after=START)
    async with aclosing(feed.frames()) as frames:
        assert read(await anext(frames))["type"] == "train_status"
        waiting = asyncio.ensure_future(anext(frames))
        while not waiting.done():  # until it reads live frames: a busy machine takes its time
            live.publish(redis_client, [(live.topic_job(attempt.instance_id), {"type": "marker"})])
            await asyncio.wait({waiting}, timeout=0.2)
        assert read(waiting.result())["type"] == "marker"
        await in_thread(services.chunk_store)(
            attempt=attempt, stream="log", start=0, end=2, data=b"a\n"
        )
        redis_client.client_kill_filter(skipme=True)
        seen: list[dict[str, Any]] = []
        while len(seen) < 2:
            frame = read(await asyncio.wait_for(anext(frames), 10))
            seen += [frame] if frame["type"] != "marker" else []
        assert [frame["type"] for frame in seen] == ["train_status", "log"]
        assert seen[1]["lines"] == ["a"]
    await fanout().stop()


def log_frame(start: int, text: str) -> Frame:
    return Frame.of(
        {
            "type": "log",
            "attempt": 1,
            "from": start,
            "to": start + 1,
            "lines": [text],
            "partial": text,
        }
    )


async def test_a_slow_subscriber_is_given_up_and_keeps_no_memory() -> None:
    slow = Subscriber(behind=asyncio.Event(), limit_bytes=1_000)
    for number in range(5):
        slow.put(log_frame(number, "x" * 300))
    assert slow.behind.is_set()
    assert await slow.next() is None
    slow.put(log_frame(9, "x"))
    assert await slow.next() is None


async def test_frames_that_wait_are_joined_only_where_they_touch() -> None:
    late = Subscriber(behind=asyncio.Event())
    status = Frame.of({"type": "train_status"})
    touching = [log_frame(n, str(n)) for n in range(12)]
    later = [log_frame(21 + n, "z") for n in range(9)]
    for frame in [*touching, log_frame(20, "gap"), status, *later]:
        late.put(frame)
    first = await late.next()
    assert first is not None
    assert (first.start, first.end) == (0, 12)
    assert read(first)["lines"] == [str(n) for n in range(12)]
    assert read(first)["partial"] == "11"
    second, third = await late.next(), await late.next()
    assert second is not None
    assert third is status
    assert read(second)["lines"] == ["gap"]


def test_a_gap_is_joined_to_nothing() -> None:
    """It would take the place of lines, and how many were left out would be lost."""
    gap = Frame.of(
        {"type": "log", "attempt": 1, "from": 1, "to": 5, "lines": [], "partial": "", "left_out": 3}
    )
    waiting = deque([log_frame(0, "a"), gap, log_frame(5, "b"), log_frame(6, "c")])
    runs = []
    while waiting:
        runs.append(join_logs(run_take(waiting)))
    assert [(frame.start, frame.end) for frame in runs] == [(0, 1), (1, 5), (5, 7)]
    assert runs[1] is gap


@pytest.mark.usefixtures("redis_client")
async def test_what_is_read_together_is_joined_once_for_all() -> None:
    reader = Fanout()
    status = Frame.of({"type": "train_status"})
    sent = [*(log_frame(n, str(n)) for n in range(30)), status]
    async with AsyncExitStack() as stack:
        watching = [await stack.enter_async_context(reader.subscribe("job:1")) for _ in range(3)]
        assert reader._deliver([(b"0-1", {b"t": b"job:1", b"f": one.raw}) for one in sent]) == 3
        found = [(await subscriber.next(), await subscriber.next()) for subscriber in watching]
    await reader.stop()
    assert {id(joined) for joined, _last in found} == {id(found[0][0])}
    for joined, last in found:
        assert joined is not None
        assert read(joined)["lines"] == [str(n) for n in range(30)]
        assert last is not None
        assert last.raw == status.raw


def test_joined_lines_may_be_none() -> None:
    empty = Frame.of({"type": "log", "attempt": 1, "from": 1, "to": 1, "lines": [], "partial": "%"})
    assert read(join_logs([log_frame(0, "a"), empty]))["lines"] == ["a"]
