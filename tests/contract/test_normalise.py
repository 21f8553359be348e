"""Console bytes -> lines: the same whatever the pieces, and from any line's start."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.contract import normalise as module
from nodeagent.contract.normalise import MAX_LINE_BYTES, Normaliser, normalise

pieces = st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b"\x00", b"\xff", "é".encode()]))
consoles = st.one_of(pieces.map(b"".join), st.binary(max_size=200))


@given(consoles, st.lists(st.integers(min_value=0, max_value=200)))
def test_any_split_gives_the_same_lines(data: bytes, cuts: list[int]) -> None:
    whole, split = Normaliser(), Normaliser()
    lines = whole.feed(data)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut <= len(data))})
    parts: list[str] = []
    for begin, end in itertools.pairwise(edges):
        parts += split.feed(data[begin:end])
    assert parts == lines
    assert (split.position, split.partial, split.end) == (whole.position, whole.partial, whole.end)
    assert whole.end == len(data)


@given(consoles, consoles)
def test_starting_at_the_position_gives_the_following_lines(first: bytes, second: bytes) -> None:
    straight = Normaliser()
    straight.feed(first)
    position = straight.position
    following = straight.feed(second)
    resumed = Normaliser(position=position)
    assert resumed.feed((first + second)[position:]) == following
    assert resumed.position == straight.position


@given(consoles)
def test_nothing_unprintable_for_a_database_is_left(data: bytes) -> None:
    for line in normalise(data):
        assert "\x00" not in line
        assert "\n" not in line
        line.encode("utf-8")


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"10%\r20%\r100%\n", ["100%"]),
        (b"10%\r20%\r", ["20%"]),
        (b"\n\n", ["", ""]),
        (b"nul\x00\xff\n", ["nul\u2400\ufffd"]),
    ],
)
def test_examples(data: bytes, lines: list[str]) -> None:
    assert normalise(data) == lines


def test_a_line_without_end_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = normalise(b"x" * (2 * MAX_LINE_BYTES + 5))
    assert [len(line) for line in lines] == [MAX_LINE_BYTES, MAX_LINE_BYTES, 5]
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 4)
    assert normalise(b"abcd\nef\n") == ["abcd", "", "ef"]
