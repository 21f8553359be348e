"""The rate caps: what is sent and what is left out is all there was, whatever the pace and the rewinds."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.linecap import LeftOut, LineBudget, LogGate, Piece
from tests.agent.plane import AgentProcess, Plane, start_command, wait_for


def assert_whole(told: list[Any], data: bytes) -> int:
    """In order, contiguous, true, and gaps on the edges of lines; gives the lines left out."""
    at = lines = 0
    for one in told:
        assert one.start == at < one.end
        at = one.end
        part = data[one.start : one.end]
        if isinstance(one, Piece):
            assert one.data == part
            continue
        assert one.start == 0 or data[one.start - 1] == 10
        assert one.end == len(data) or data[one.end - 1] == 10
        assert one.lines == part.count(b"\n") + (not part.endswith(b"\n"))
        lines += one.lines
    assert at == len(data)
    return lines


def sent_through(gate: LogGate, data: bytes, draw: random.Random, *, rewinds: bool) -> list[Any]:
    """A file that grows at some pace, read in pieces of any size, now and then read again."""
    told: list[Any] = []
    position = size = 0
    now = 0.0
    for step in range(80):
        now += draw.choice([0.0, 0.01, 0.3, 1.1])
        size = len(data) if step > 60 else min(len(data), size + draw.randint(0, 100))
        if rewinds and told and draw.random() < 0.1:
            place = draw.randrange(len(told))
            position, told = told[place].start, told[:place]
            gate.rewind(position)
        while True:
            known = gate.known(position)
            if known is not None:
                told.append(known)
                position = known.end
            elif position < size:
                end = min(size, position + draw.randint(1, 90))
                more, position = gate.judge(Piece(position, end, data[position:end]), now)
                told += more
            else:
                break
        gap = gate.caught_up(now, final=step > 60)
        told += [gap] if gap is not None else []
    assert not gate.is_open
    return told


PARTS = st.lists(st.sampled_from([b"x\n", b"yy\n", b"abc", b"\n", b"z" * 50]), max_size=200)


@settings(max_examples=60, deadline=None)
@given(
    parts=PARTS,
    per_job=st.sampled_from([0, 1, 3, 40]),
    per_node=st.sampled_from([0, 2, 40]),
    seed=st.integers(0, 2**32),
    rewinds=st.booleans(),
)
def test_sent_and_left_out_are_the_whole_file(
    parts: list[bytes], per_job: int, per_node: int, seed: int, rewinds: bool
) -> None:
    data = b"".join(parts)
    gate = LogGate(job=LineBudget(per_job, now=0.0), node=LineBudget(per_node, now=0.0))
    gate.caught_up(0.0, final=False)
    told = sent_through(gate, data, random.Random(seed), rewinds=rewinds)
    out = assert_whole(told, data)
    if not per_job and not per_node:
        assert out == 0


def test_within_the_cap_nothing_is_left_out_however_long_nobody_read() -> None:
    gate = LogGate(job=LineBudget(10, now=0.0), node=LineBudget(100, now=0.0))
    gate.caught_up(0.0, final=False)
    data = b"line\n" * 600  # a minute at the cap
    told, _position = gate.judge(Piece(0, len(data), data), 60.0)
    assert told == [Piece(0, len(data), data)]


def test_what_lay_there_before_the_agent_came_passes() -> None:
    gate = LogGate(job=LineBudget(1, now=0.0), node=LineBudget(1, now=0.0))
    data = b"line\n" * 1000
    assert gate.judge(Piece(0, len(data), data), 0.0)[0] == [Piece(0, len(data), data)]


def test_one_gap_a_second_not_one_a_look() -> None:
    gate = LogGate(job=LineBudget(100, now=0.0), node=LineBudget(1000, now=0.0))
    gate.caught_up(0.0, final=False)
    told: list[Any] = []
    position, piece = 0, b"line\n" * 50
    for look in range(1000):  # ten seconds, 5,000 lines in each
        more, position = gate.judge(Piece(position, position + 250, piece), look / 100)
        gap = gate.caught_up(look / 100, final=look == 999)
        told += [*more, *([gap] if gap is not None else [])]
    gaps = [one for one in told if isinstance(one, LeftOut)]
    assert 9 <= len(gaps) <= 11
    assert assert_whole(told, piece * 1000) == sum(gap.lines for gap in gaps) == 49_000


def test_the_node_shares_its_cap_among_jobs() -> None:
    node = LineBudget(150, now=0.0)
    gates = [LogGate(job=LineBudget(100, now=0.0), node=node) for _ in range(2)]
    data = b"line\n" * 100
    for gate in gates:
        gate.caught_up(0.0, final=False)
    told = [gate.judge(Piece(0, len(data), data), 0.5)[0] for gate in gates]
    sent = [[one.data.count(b"\n") for one in some if isinstance(one, Piece)] for some in told]
    assert sent == [[100], [50]]


FAST = """
import sys
lines = "".join(f"line {n}\\n" for n in range(200_000))
sys.stdout.write(lines)
"""


@pytest.mark.redis
def test_a_trainer_that_prints_without_end_is_cut_and_counted(
    plane: Plane, agent: AgentProcess
) -> None:
    """P8: what was emitted is what was stored and what the markers say; the file has all of it."""
    code = "import time; time.sleep(1)\n" + FAST  # it is followed by then
    plane.send(start_command(1, ["-u", "-c", code]))
    plane.wait_whole(1, timeout_s=60)
    console = (agent.folder / "jobs/1/a1/console.log").read_bytes()
    assert console.count(b"\n") == 200_000
    stored = plane.bytes_of(1, 1, "log")
    out = sum(lines for _start, _end, lines in plane.left_out)
    assert stored.count(b"\n") + out == 200_000
    assert out > 100_000
    at = 0
    for start, end, lines in plane.left_out:
        assert stored[at:start] == console[at:start]
        assert console[start:end].count(b"\n") == lines
        at = end
    assert stored[at:] == console[at:]
    assert not plane.gaps
    wait_for(lambda: plane.heartbeats()[-1].dropped_lines == out, what="the node's counter")
