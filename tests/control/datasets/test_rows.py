"""The row checker: judged against json.loads, in any pieces, in bounded memory."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraforge.datasets.problems import _TEXTS, text_of
from loraforge.datasets.rows import BOM, NOTE_BOM, RowChecker, RowReport, preview_cut, rows_read

GOOD = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
ANSWER = {"role": "assistant", "content": "a"}


def check(data: bytes, *, piece: int = 0) -> RowReport:
    checker = RowChecker()
    step = piece or max(1, len(data))
    for begin in range(0, len(data), step):
        checker.feed(data[begin : begin + step])
    return checker.finish()


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def error_of_row(row: Any) -> str:
    report = check(lines(row))
    return report.errors[0].id if report.errors else ""


def is_strict_json(text: str) -> bool:
    """What json.loads takes, less what is no JSON (NaN) or no Unicode (lone surrogates)."""

    def refuse(_name: str) -> Any:
        raise ValueError

    try:
        found = json.loads(text, parse_constant=refuse)
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict)


text = st.text(max_size=12)
scalar = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_infinity=False, allow_nan=False)
    | text
)
value = st.recursive(
    scalar, lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(text, deeper, max_size=3)
)
line_of_json = st.builds(
    lambda extra, ascii_only: json.dumps({**extra, **GOOD}, ensure_ascii=ascii_only),
    st.dictionaries(
        text.filter(lambda name: name not in {"conversations", "conversation"}), value, max_size=3
    ),
    st.booleans(),
)
line_of_noise = st.text(alphabet='{}[]":,\\ abc01eE.-+\t\u2028ntrue\x00NaN', max_size=20)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(line_of_json, line_of_noise, value.map(json.dumps)), max_size=8),
    st.integers(1, 40),
    st.sampled_from(["\n", "\r\n"]),
)
def test_a_line_counts_exactly_when_strict_json_says_so(
    given_lines: list[str], piece: int, end: str
) -> None:
    data = end.join(given_lines).encode("utf-8", "surrogatepass")
    report = check(data, piece=piece)
    kept = [line for line in given_lines if line.strip(" \t\r")]
    objects = sum(is_strict_json(line) for line in kept)
    syntax = {"rows:not_json", "rows:not_an_object", "rows:not_utf8"}
    refused = sum(error.id in syntax for error in report.errors)
    assert refused == len(kept) - objects
    assert report.rows + report.error_count == (len(kept) or 1)  # an empty file has one error
    assert report == check(data)  # whatever the pieces


@pytest.mark.parametrize(
    ("row", "row_format"),
    [
        (GOOD, "messages"),
        ({"messages": [ANSWER]}, "messages"),
        (
            {
                "messages": [
                    {"role": "system", "content": "s"},
                    {"role": "tool", "content": "t"},
                    ANSWER,
                ]
            },
            "messages",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, ANSWER]},
            "messages",
        ),
        (
            {"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}, ANSWER]},
            "messages",
        ),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
            "conversations",
        ),
        ({"conversation": [{"role": "user", "content": "q"}, ANSWER]}, "conversations"),
        ({"instruction": "i", "input": "", "output": "o"}, "instruction"),
        ({"instruction": "i", "output": "o"}, "instruction"),
        ({"query": "q", "response": "r"}, "query_response"),
        ({"question": "q", "answer": "a"}, "query_response"),
        ({"text": "all of it"}, "text"),
    ],
)
def test_formats(row: dict[str, Any], row_format: str) -> None:
    report = check(lines(row, row))
    assert (report.errors, report.rows, report.row_format) == ([], 2, row_format)


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"messages": "text"}, "rows:not_a_list"),
        ({"messages": []}, "rows:not_a_list"),
        ({"messages": ["text"]}, "rows:turn_not_an_object"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "rows:unknown_role"),
        ({"messages": [{"content": "x"}]}, "rows:unknown_role"),
        ({"messages": [{"role": "assistant", "content": 7}]}, "rows:content_not_text"),
        ({"messages": [{"role": "assistant"}]}, "rows:content_not_text"),
        ({"instruction": 1, "output": "o"}, "rows:column_not_text"),
        ({"text": ["x"]}, "rows:column_not_text"),
        ({"query": "q", "response": "r", "rejected_response": "r"}, "rows:rejected_is_answer"),
        ({"query": "q", "response": "r", "rejected_response": 1}, "rows:column_not_text"),
        (
            {**GOOD, "rejected_messages": [{"role": "user", "content": "q"}]},
            "rows:last_not_assistant",
        ),
        ({**GOOD, "label": "yes"}, "rows:label_not_number"),
        ({**GOOD, "positive_messages": "x"}, "rows:not_a_list"),
        ({**GOOD, "images": [1]}, "rows:media_not_paths"),
        ({"query": "q", "response": "r", "system": 1}, "rows:column_not_text"),
        ({"a": 1}, "rows:unknown_columns"),
        ({}, "rows:unknown_columns"),
        ([GOOD], "rows:not_an_object"),
    ],
)
def test_what_is_refused_says_what_and_how_to_mend_it(row: Any, error: str) -> None:
    assert error_of_row(row) == error
    report = check(lines(row))
    told = text_of(report.errors[0].id, report.errors[0].params)
    assert told != error
    assert "%(" not in told


def test_errors_carry_their_line_and_are_all_counted() -> None:
    report = check(lines(GOOD, {"a": 1}, GOOD) + b"\n\nnot json\n" + b"[]\n" * 100)
    assert [(error.line, error.id) for error in report.errors[:3]] == [
        (2, "rows:unknown_columns"), (6, "rows:not_json"), (7, "rows:not_an_object")
    ]  # fmt: skip
    assert (report.rows, report.error_count, len(report.errors)) == (2, 102, 20)


def test_one_file_has_one_format() -> None:
    report = check(lines(GOOD, {"text": "x"}))
    assert [(error.line, error.id) for error in report.errors] == [(2, "rows:mixed")]


@pytest.mark.parametrize("data", [b"", b"\n", b" \n\t\n", BOM])
def test_an_empty_file_is_refused(data: bytes) -> None:
    assert [error.id for error in check(data).errors] == ["rows:empty"]


@pytest.mark.parametrize("piece", [1, 2, 1000])
def test_a_byte_order_mark_is_tolerated_and_noted(piece: int) -> None:
    report = check(BOM + lines(GOOD), piece=piece)
    assert (report.rows, report.errors, report.notes) == (1, [], [NOTE_BOM])


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04rest", b"\x1f\x8b\x08rest", b"PAR1rest", b"BZh9rest..."]
)
def test_containers_are_named_once(data: bytes) -> None:
    report = check(data + b"\n{" * 100, piece=3)
    assert [(error.line, error.id) for error in report.errors] == [(0, "rows:container")]


def test_no_utf8_and_deep_nests_are_one_error_each() -> None:
    report = check(
        b'{"text": "\xff"}\n' + b'{"text": ' + b"[" * 200_000 + b"\n" + lines({"text": "ok"})
    )
    assert [(error.line, error.id) for error in report.errors] == [
        (1, "rows:not_utf8"),
        (2, "rows:not_json"),
    ]
    assert report.rows == 1


def test_a_line_without_an_end_costs_no_memory() -> None:
    limit = 1024**2
    checker = RowChecker(max_line_bytes=limit)
    piece = b"x" * 65_536
    tracemalloc.start()
    for _round in range(1600):  # 100 MiB
        checker.feed(piece)
    checker.feed(b"\n" + lines(GOOD))
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    report = checker.finish()
    assert peak < 6 * limit
    assert [(error.line, error.id) for error in report.errors] == [(1, "rows:line_too_long")]
    assert report.rows == 1


def test_a_zero_byte_is_kept_out_of_what_the_database_stores() -> None:
    """PostgreSQL's JSON takes none: the check of such a file never came to its end."""
    good, bad = RowChecker(), RowChecker()
    good.feed(b'{"text": "a\\u0000b", "k\\u0000": ["\\u0000"]}\n')
    bad.feed(b'{"c\\u0000d": 1}\n')
    report, refused = good.finish(), bad.finish()
    assert (report.error_count, report.preview) == (0, [{"text": "a␀b", "k␀": ["␀"]}])
    assert refused.errors[0].params == {"columns": "c␀d"}


def test_previews_are_small_whatever_the_row() -> None:
    row = {
        "messages": [{"role": "assistant", "content": "x" * 10_000}] * 100,
        "deep": [[[[[[[[[[1]]]]]]]]]],
    }
    assert len(json.dumps(preview_cut(row))) < 10_000
    wide = {str(n): [["x" * 400] * 12] * 12 for n in range(12)}
    assert len(json.dumps(preview_cut(wide))) < 20_000
    report = check(lines(*[GOOD] * 50))
    assert len(report.preview) == 5
    assert report.preview[0] == GOOD


def test_rows_are_read_by_number_without_blank_lines() -> None:
    data = [b'{"text": "0"}\n', b"\n", b'{"text": "1"}\n', b'{"text": "2"}']
    assert rows_read(iter(data), offset=1, limit=2) == [{"text": "1"}, {"text": "2"}]
    assert rows_read(iter(data), offset=3, limit=2) == []
    long = [b'{"x":[' + b"{}," * 300_000 + b"{}]}\n", data[0]]
    assert rows_read(iter(long), offset=0, limit=2) == [
        {"error": "rows:too_complex"},
        {"text": "0"},
    ]


def test_every_text_names_only_what_its_errors_bring() -> None:
    assert all(error_id.startswith("rows:") for error_id in _TEXTS)
