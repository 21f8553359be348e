"""Pure rules of streams."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraforge.telemetry import policy
from loraforge.telemetry.policy import Cursor, Point
from nodeagent.contract.normalise import MAX_LINE_BYTES, normalise


@pytest.mark.parametrize("text", ["1", "1:", ":2", "1:2:3", "-1:2", "a:b", "1:2 ", "\u0661:\u0662"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        policy.cursor_parse(text)


def test_a_cursor_reads_as_it_is_written() -> None:
    assert policy.cursor_parse(str(Cursor(3, 1234))) == Cursor(3, 1234)
    assert policy.cursor_parse("") == policy.cursor_parse("0") == Cursor(0, 0)


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\xff", b"x" * MAX_LINE_BYTES, b"y" * 1000])))
def test_lines_have_the_positions_at_which_one_can_go_on(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    whole = [line.text for line in policy.lines_at(data=data, position=0)]
    for number, line in enumerate(policy.lines_at(data=data, position=0), start=1):
        later = policy.lines_at(data=data[line.end :], position=line.end)
        assert [other.text for other in later] == whole[number:]
    assert normalise(data)[: len(whole)] == whole


@given(st.integers(0, 10), st.integers(0, 5 * MAX_LINE_BYTES))
def test_the_beginning_of_a_long_line_is_found_without_reading_it(before: int, length: int) -> None:
    data = b"\n" * before + b"x" * length
    ends = [line.end for line in policy.lines_at(data=data, position=0)]
    assert policy.line_start(newline_end=before, position=len(data)) == (ends[-1] if ends else 0)


def test_bare_nan_and_infinity_become_null() -> None:
    line = b'{"loss": NaN, "a": [Infinity, -Infinity, 1e999], "ok": 1.5}\n'
    (row,) = policy.rows_at(data=line, position=7)
    assert row == (7, 7 + len(line), {"loss": None, "a": [None, None, None], "ok": 1.5})


def test_the_history_is_left_out_and_a_broken_line_is_kept_as_text() -> None:
    history = json.dumps({"log_history": [{"loss": 1}] * 10_000, "global_step": 23}).encode()
    data = history + b"\n\n{broken\n[1]\n\xff\n" + b"[" * 100_000 + b"\n"
    rows = policy.rows_at(data=data, position=0, drop=frozenset({"log_history"}))
    assert rows[0].values == {"global_step": 23}
    assert [row.values for row in rows[1:4]] == [
        {"unreadable": "{broken"}, {"unreadable": "[1]"}, {"unreadable": "\ufffd"},
    ]  # fmt: skip
    assert rows[4].values == {"unreadable": "[" * 1000}
    assert rows[-1].end == len(data)


def test_what_a_database_refuses_is_replaced() -> None:
    (row,) = policy.rows_at(
        data=rb'{"a": "x\u0000y\ud800", "b\u0000": {"c": ["\ude00"]}}', position=0
    )
    assert row.values == {"a": "x\u2400y?", "b\u2400": {"c": ["?"]}}


@pytest.mark.parametrize(
    "line", ['{"loss": 1%s, "a": [-1%s]}', '{"loss": 1%s, "a": [-1%s], "b": NaN}']
)
def test_numbers_that_no_column_holds_become_null(line: str) -> None:
    data = (line % ("0" * 400, "0" * 19)).encode()
    (row,) = policy.rows_at(data=data, position=0)
    assert (row.values["loss"], row.values["a"]) == (None, [None])
    assert policy.progress_of(row.values).loss is None
    (row,) = policy.rows_at(data=b'{"a": 9223372036854775807, "b": true}', position=0)
    assert row.values == {"a": 2**63 - 1, "b": True}


def test_a_time_left_beyond_all_lives_is_none() -> None:
    assert policy.duration_s("9" * 30 + "d") is None
    assert policy.duration_s("36500d") == 36500 * 86_400


def test_progress_of_swifts_row() -> None:
    values = {"loss": 5.8, "global_step/max_steps": "5/23", "remaining_time": "1h 2m 3s"}
    assert policy.progress_of(values) == (5, 23, 5.8, 3723)
    assert policy.progress_of({"global_step": 23}) == (23, None, None, None)
    assert policy.progress_of({"loss": "5", "global_step/max_steps": "x", "remaining_time": 3}) == (
        None, None, None, None,
    )  # fmt: skip


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(10, 60))
def test_thinning_keeps_the_look(values: list[float], limit: int) -> None:
    points = [Point(step, value) for step, value in enumerate(values)]
    thin = policy.points_thin(points, limit=limit)
    assert len(thin) <= max(limit, 1)
    assert thin == sorted(set(thin)) or len(points) <= limit
    assert (thin[0], thin[-1]) == (points[0], points[-1])
    assert min(p.value for p in thin) == min(values)
    assert max(p.value for p in thin) == max(values)
