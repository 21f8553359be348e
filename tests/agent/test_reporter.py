"""The reporter against a real Redis: what is sent, resent, held back and dropped."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from nodeagent.connection import redis_client
from nodeagent.contract import channels
from nodeagent.contract.phases import Phase
from nodeagent.contract.reports import (
    Chunk,
    Heartbeat,
    PhaseChange,
    Report,
    Stream,
    report_unpack,
)
from nodeagent.journal import Journal, Record
from nodeagent.reporter import Reporter
from tests.agent.plane import wait_for

pytestmark = pytest.mark.redis

KEY = (1, 1, "log")
STREAM = channels.report_stream("n1")
ACKS = channels.ack_key("n1")


class Bench:
    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.redis = redis.Redis.from_url(url)
        self.superseded: list[int] = []
        self.rewinds: list[tuple[tuple[int, int, str], int]] = []
        self.open()

    def open(self, **more: Any) -> None:
        self.journal = Journal(self.folder / "journal.sqlite3")
        self.reporter = Reporter(
            node="n1",
            journal=self.journal,
            on_rewind=lambda key, end: self.rewinds.append((key, end)),
            poll_s=0.05,
            stall_s=more.get("stall_s", 0.4),
            agent_id="mine",
            on_superseded=lambda: self.superseded.append(1),
        )
        self.reporter.start(redis_client(self.url))

    def close(self) -> None:
        self.reporter.stop()
        self.journal.close()

    def chunk(self, start: int, end: int, stream: Stream = "log") -> None:
        body = Chunk(data=b"x" * (end - start))
        self.reporter.chunk_offer(
            Report(node="n1", stream=stream, body=body, instance=1, attempt=1, start=start, end=end)
        )

    def phase(self) -> int:
        seq, packed = self.journal.report_add(
            lambda seq: Report(
                node="n1",
                stream="phase",
                body=PhaseChange(phase=Phase.RUNNING),
                start=seq - 1,
                end=seq,
            )
        )
        self.reporter.journalled_offer(seq, packed)
        return seq

    def seen(self) -> list[Report]:
        rows: Any = self.redis.xrange(STREAM)
        return [report_unpack(fields[b"b"]) for _entry, fields in rows]

    def polled(self) -> bool:
        """Whether what lies in the hash now has been read."""
        return self.reporter._agent_told == self.redis.hget(ACKS, channels.ACK_AGENT)

    def ends(self, stream: str = "log") -> list[int]:
        return [report.end for report in self.seen() if report.stream == stream]

    def ack(self, field: str, value: object) -> None:
        self.redis.hset(ACKS, field, str(value))


@pytest.fixture
def bench(redis_url: str, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(redis_url, tmp_path)
    yield bench
    bench.close()


def settle(condition: Callable[[], bool], *, for_s: float = 0.6) -> None:
    """The condition stays true for a while."""
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        assert condition()
        time.sleep(0.02)


def test_order_is_kept(bench: Bench) -> None:
    for number in range(50):
        bench.chunk(number * 10, number * 10 + 10)
    seq = bench.phase()
    wait_for(lambda: len(bench.seen()) == 51)
    assert [report.end for report in bench.seen()] == [*range(10, 510, 10), seq]


def test_acknowledged_ends_are_remembered_over_a_restart(bench: Bench) -> None:
    bench.chunk(0, 10)
    wait_for(bench.ends)
    bench.ack(channels.ack_field(*KEY), 10)
    wait_for(lambda: bench.reporter.acked_end(KEY) == 10)
    bench.close()
    bench.redis.flushall()
    bench.open()
    assert bench.reporter.acked_end(KEY) == 10


def test_unacknowledged_reports_are_sent_again_after_a_restart(bench: Bench) -> None:
    first, second = bench.phase(), bench.phase()
    wait_for(lambda: bench.ends("phase") == [first, second])
    bench.ack(channels.ACK_JOURNAL, first)
    wait_for(lambda: bench.journal.reports_unacked_count() == 1)
    bench.close()
    bench.redis.delete(STREAM)
    bench.open(stall_s=100)
    wait_for(lambda: bench.ends("phase") == [second])


def test_an_end_that_stands_still_is_read_again_with_patience(bench: Bench) -> None:
    bench.chunk(0, 10)
    wait_for(bench.ends)
    bench.redis.xtrim(STREAM, maxlen=0, approximate=False)
    wait_for(lambda: (KEY, 0) in bench.rewinds)
    assert len(bench.rewinds) == 1


def test_a_slow_reader_is_not_flooded(bench: Bench) -> None:
    """The entry still lies in the stream: nobody reads, so nothing was lost."""
    bench.chunk(0, 10)
    wait_for(bench.ends)
    settle(lambda: not bench.rewinds, for_s=1.0)


def test_journalled_reports_are_sent_again_when_nothing_moves(bench: Bench) -> None:
    seq = bench.phase()
    wait_for(bench.seen)
    bench.redis.xtrim(STREAM, maxlen=0, approximate=False)
    wait_for(lambda: bench.ends("phase") == [seq])
    bench.ack(channels.ACK_JOURNAL, seq)
    wait_for(lambda: bench.journal.reports_unacked_count() == 0)


def test_flushall_is_noticed_by_the_hash_that_is_gone(bench: Bench) -> None:
    bench.close()
    bench.open(stall_s=100)
    bench.chunk(0, 10)
    wait_for(bench.ends)
    bench.ack(channels.ack_field(*KEY), 10)
    wait_for(lambda: bench.reporter.acked_end(KEY) == 10)
    bench.chunk(10, 20)
    seq = bench.phase()
    wait_for(lambda: bench.ends("phase") == [seq])
    bench.redis.flushall()
    wait_for(lambda: (KEY, 10) in bench.rewinds)
    wait_for(lambda: bench.ends("phase") == [seq])


def test_the_receiver_asks_for_a_file_again(bench: Bench) -> None:
    bench.ack(channels.reread_field(*KEY), "7:a")
    wait_for(lambda: bench.rewinds == [(KEY, 7)])
    settle(lambda: bench.rewinds == [(KEY, 7)], for_s=0.3)
    bench.ack(channels.reread_field(*KEY), "7:b")
    wait_for(lambda: bench.rewinds == [(KEY, 7), (KEY, 7)])


def test_the_receiver_asks_for_journalled_reports_again(bench: Bench) -> None:
    first, second = bench.phase(), bench.phase()
    bench.ack(channels.ACK_JOURNAL, second)
    wait_for(lambda: bench.journal.reports_unacked_count() == 0)
    bench.redis.xtrim(STREAM, maxlen=0, approximate=False)
    bench.ack(channels.REREAD_JOURNAL, f"{first - 1}:n")
    wait_for(lambda: bench.ends("phase") == [first, second])


def test_foreign_fields_do_no_harm(bench: Bench) -> None:
    bench.ack("rubbish", "x")
    bench.ack("1:2:3:4", "x")
    bench.chunk(0, 10)
    bench.ack(channels.ack_field(*KEY), 10)
    wait_for(lambda: bench.reporter.acked_end(KEY) == 10)


def test_a_full_stream_takes_no_more_files(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodeagent.reporter.STREAM_BYTES", 100_000)
    bench.chunk(0, 200_000)
    wait_for(lambda: bench.reporter.room_bytes() == 0)
    seq = bench.phase()
    wait_for(lambda: bench.ends("phase") == [seq])
    bench.redis.xtrim(STREAM, maxlen=0, approximate=False)
    wait_for(lambda: bench.reporter.room_bytes() > 0)


def test_many_entries_of_an_earlier_life_count_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeagent.reporter.STREAM_ENTRIES", 3)
    for _ in range(5):
        bench.redis.xadd(STREAM, {"b": b"old"})
    wait_for(lambda: bench.reporter.room_bytes() == 0)


def test_memory_is_bounded_while_redis_is_away(tmp_path: Path) -> None:
    bench = Bench(f"unix://{tmp_path}/none.sock", tmp_path)
    try:
        offered = 0
        while bench.reporter.room_bytes() > 0:
            bench.chunk(offered, offered + 100_000)
            offered += 100_000
            assert offered < 10_000_000
        seq = bench.phase()
        beat = Report(node="n1", stream="heartbeat", body=Heartbeat(boot_id="b", agent_version="0"))
        for _ in range(10):
            bench.reporter.volatile_offer(beat)
        wait_for(lambda: bench.reporter.dropped_volatile == 10)
        assert [row[0] for row in bench.journal.reports_after(0)] == [seq]
    finally:
        bench.close()


# -- the journal beneath


def test_a_new_folder_counts_above_an_old_one(tmp_path: Path) -> None:
    before = int(time.time() * 1000)
    journal = Journal(tmp_path / "j.sqlite3")
    report = Report(node="n1", stream="phase", body=PhaseChange(phase=Phase.RUNNING))
    first, _ = journal.report_add(lambda _seq: report)
    second, _ = journal.report_add(lambda _seq: report)
    assert first > before
    assert second == first + 1
    journal.reports_ack(second)
    journal.close()
    again = Journal(tmp_path / "j.sqlite3")
    third, _ = again.report_add(lambda _seq: report)
    assert third == second + 1
    again.close()


def test_a_transaction_is_whole_or_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite3")
    record = Record(instance=1, attempt=1, phase=Phase.ACCEPTED)

    def failing(_seq: int) -> Report:
        raise RuntimeError("in the middle")

    def both() -> None:
        with journal.transaction():
            journal.record_save(record)
            journal.report_add(failing)

    with pytest.raises(RuntimeError):
        both()
    assert journal.records() == []
    assert journal.reports_after(0) == []
    journal.record_save(record)
    assert [one.key for one in journal.records()] == [(1, 1)]
    journal.close()


def test_another_agent_under_this_name_is_noticed_once_it_has_joined(bench: Bench) -> None:
    """What lay there before this agent's start spoke of an earlier one."""
    bench.close()
    bench.redis.hset(ACKS, channels.ACK_AGENT, "other:1")
    bench.open()
    bench.phase()
    wait_for(bench.seen, what="a report")
    for value in ("mine:2", "mine:3"):
        bench.redis.hset(ACKS, channels.ACK_AGENT, value)
        wait_for(bench.polled, what="a look at the acknowledgements")
    bench.redis.flushall()
    wait_for(lambda: bench.reporter._agent_told == b"", what="a look at the emptied Redis")
    assert bench.superseded == []
    bench.redis.hset(ACKS, channels.ACK_AGENT, "other:4")
    wait_for(lambda: bench.superseded, what="the word that another has the name")
