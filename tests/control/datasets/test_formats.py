"""Files of every format, good and hostile, through the check that an upload goes through."""

import gzip
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraforge.datasets import checking
from loraforge.datasets.converting import Elements, Table
from loraforge.datasets.models import DatasetState, Upload
from loraforge.datasets.problems import text_of
from loraforge.datasets.rowcheck import Progress, Task, check, rows_path
from loraforge.datasets.rowformats import Refused
from loraforge.datasets.rows import RowReport
from tests.factories.datasets import UploadFactory

GOOD = {"messages": [{"role": "user", "content": "问 q"}, {"role": "assistant", "content": "a"}]}
PAIR = {"query": "q", "response": "r"}


def checked(folder: Path, data: bytes, suffix: str, **task: Any) -> tuple[RowReport, list[Any]]:
    """The report, and the rows that are kept if they were converted."""
    path = folder / "file"
    path.write_bytes(data)
    out = io.BytesIO()
    check(path, out, Task(suffix=suffix, **task))
    last = msgspec.json.decode(out.getvalue().splitlines()[-1], type=Progress)
    assert last.report is not None
    kept = rows_path(path)
    lines = kept.read_bytes().splitlines() if kept.exists() else []
    assert not kept.exists() or last.rows_bytes == kept.stat().st_size
    is_good = last.report.error_count == 0
    return last.report, [json.loads(line) for line in lines] if is_good else []


def parquet(rows: list[dict[str, Any]], schema: pa.Schema | None = None) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), out)
    return out.getvalue()


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("../rows.jsonl", "{}")
    return out.getvalue()


@pytest.mark.parametrize(
    ("suffix", "data", "rows"),
    [
        (".json", json.dumps([GOOD, GOOD], indent=2).encode(), [GOOD, GOOD]),
        (".json", b"\xef\xbb\xbf [" + json.dumps(GOOD).encode() + b"]\n", [GOOD]),
        (".jsonl", json.dumps([PAIR]).encode(), [PAIR]),
        (".csv", b"query,response\r\nq,r\r\n", [PAIR]),
        (".csv", b"\xef\xbb\xbfquery;response\nq;r\n\n", [PAIR]),
        (".tsv", b"query\tresponse\nq\tr", [PAIR]),
        (".csv", b'query,response,label,input\n"a,\n""b""",42,True,\n',
         [{"query": 'a,\n"b"', "response": "42", "label": True}]),
        (".csv", b'messages,x\n"' + json.dumps(GOOD["messages"]).replace('"', '""').encode() + b'",1\n',
         [{**GOOD, "x": "1"}]),
        (".parquet", parquet([GOOD, GOOD]), [GOOD, GOOD]),
        (".jsonl", parquet([PAIR]), [PAIR]),
    ],
    ids=range(10),
)  # fmt: skip
def test_what_is_no_jsonl_becomes_it(
    tmp_path: Path, suffix: str, data: bytes, rows: list[Any]
) -> None:
    report, kept = checked(tmp_path, data, suffix)
    assert (report.errors, report.rows) == ([], len(rows))
    assert kept == rows
    assert "rows:converted" in report.notes


BAD: list[tuple[str, bytes, int, str]] = [
    (".jsonl", "{}".encode("utf-16"), 0, "rows:utf16"),
    (".csv", "query,response\nq,r".encode("utf-16-le"), 0, "rows:utf16"),
    (".jsonl", bytes(range(256)) * 4, 0, "rows:binary"),
    (".jsonl", gzip.compress(b"{}" * 10_000), 0, "rows:"),
    (".csv", zipped(), 0, "rows:"),
    (".json", b"", 0, "rows:empty"),
    (".csv", b"", 1, "rows:empty"),
    (".csv", b"query,response\n", 0, "rows:empty"),
    (".json", b"[]", 0, "rows:empty"),
    (".json", b"[", 1, "rows:list_broken"),
    (".json", json.dumps([PAIR]).encode() + b"x", 2, "rows:after_list"),
    (".json", json.dumps([PAIR, 1]).encode(), 2, "rows:list_of_others"),
    (".json", json.dumps([PAIR, PAIR]).encode()[:-9], 2, "rows:list_broken"),
    (".json", b'[{"query": "q" "response": 1}]', 1, "rows:not_json"),
    (".json", b'[{"text": NaN}]', 1, "rows:not_json"),
    (".csv", b"query,response\nq,r\nq\n", 2, "rows:cells_differ"),
    (".csv", b"query,query\nq,r\n", 1, "rows:column_twice"),
    (".csv", b'query,response\nq,r\n"q,r\n', 2, "rows:csv_broken"),
    (".csv", "query,response\n问,答\n".encode("gbk"), 1, "rows:csv_not_utf8"),
    (".csv", b",".join(b"c%d" % n for n in range(1001)), 1, "rows:too_many_columns"),
    (".parquet", parquet([PAIR])[:-20], 1, "rows:parquet_broken"),
    (".parquet", b"PAR1" + b"\0" * 100, 1, "rows:parquet_broken"),
    (".parquet", b"no parquet", 1, "rows:parquet_broken"),
    (".parquet", parquet([{**PAIR, "image": {"bytes": b"x"}}]), 1, "rows:bytes_column"),
    (".jsonl", json.dumps(PAIR).encode() * 1 + b"\n" + b'{"query": "q"}', 2, "rows:no_answer"),
    (".jsonl", b'{"query": "q"}\n' + json.dumps(PAIR).encode(), 2, "rows:mixed_traits"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("suffix", "data", "row", "error"), BAD, ids=[f"{row[3]}-{at}" for at, row in enumerate(BAD)]
)
def test_hostile_and_broken_files_get_one_clear_verdict(
    tmp_path: Path, suffix: str, data: bytes, row: int, error: str
) -> None:
    report, _rows = checked(tmp_path, data, suffix)
    assert report.error_count == 1, report.errors
    first = report.errors[0]
    assert first.line == row
    assert first.id.startswith(error)
    told = text_of(first.id, first.params)
    assert told != first.id
    assert "%(" not in told


def test_a_row_without_an_end_is_refused_in_every_format() -> None:
    def endless(begin: bytes) -> Callable[[int], bytes]:
        pieces = iter([begin])
        return lambda size: next(pieces, b"x" * size)

    for made in (
        Elements(endless(b'[{"text": "'), max_bytes=4 * 1024**2),
        Elements(endless(b'[{"text": '), max_bytes=4 * 1024**2),
        Table(endless(b"query,response\n"), max_bytes=4 * 1024**2),
        Table(endless(b'query,response\n"'), max_bytes=4 * 1024**2),
    ):
        with pytest.raises(Refused) as refused:
            list(made)
        assert refused.value.error_id == "rows:line_too_long"


def test_what_grows_without_measure_is_stopped(tmp_path: Path) -> None:
    """A few bytes of Parquet may say a million rows."""
    data = parquet([{"text": "x" * 100_000}] * 500)
    assert len(data) < 100_000
    report, _rows = checked(tmp_path, data, ".parquet", limit_bytes=5_000_000)
    assert [error.id for error in report.errors] == ["rows:too_large"]


scalar = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6)
objects = st.dictionaries(st.text(max_size=4), scalar | st.lists(scalar, max_size=3), max_size=4)


@settings(max_examples=150, deadline=None)
@given(st.lists(objects, max_size=6), st.sampled_from([None, 1]), st.integers(1, 30), st.booleans())
def test_a_list_falls_apart_into_its_objects_whatever_the_pieces(
    rows: list[Any], indent: int | None, piece: int, ascii_only: bool
) -> None:
    source = io.BytesIO(json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode())
    found = list(Elements(lambda _size: source.read(piece)))
    assert [json.loads(line) for line in found] == rows
    assert all(b"\n" not in line for line in found)


def test_columns_are_read_under_swifts_names(tmp_path: Path) -> None:
    rows = b'{"Prompt_ZH": "q", "chosen": "a", "rejected": "b"}\n'
    report, _rows = checked(tmp_path, rows, ".jsonl")
    assert [error.id for error in report.errors] == ["rows:unknown_columns"]
    assert report.columns == ["Prompt_ZH", "chosen", "rejected"]
    assert report.preview == [json.loads(rows)]
    mapping = {"prompt_zh": "query", "chosen": "response", "rejected": "rejected_response"}
    report, _rows = checked(tmp_path, rows, ".jsonl", columns=mapping)
    assert (report.errors, report.row_format) == ([], "query_response")
    assert report.traits == ["answer", "rejected"]


@pytest.mark.parametrize(
    ("row", "traits"),
    [
        (PAIR, ["answer"]),
        ({"query": "q"}, []),
        ({"messages": GOOD["messages"][:1]}, []),
        ({**GOOD, "rejected_response": "b"}, ["answer", "rejected"]),
        ({**GOOD, "rejected_messages": [{"role": "assistant", "content": "b"}]}, ["answer", "rejected"]),
        ({**PAIR, "label": False}, ["answer", "label"]),
        ({**PAIR, "image": "a.png"}, ["answer", "images"]),
        ({"messages": GOOD["messages"][:1], "positive_messages": [GOOD["messages"][:1]],
          "negative_messages": []}, ["positive"]),
        ({"conversation": [{"human": "q", "assistant": "a"}]}, ["answer"]),
    ],
)  # fmt: skip
def test_what_rows_bring_is_told(tmp_path: Path, row: Any, traits: list[str]) -> None:
    report, _rows = checked(tmp_path, json.dumps(row).encode(), ".jsonl")
    assert (report.errors, report.traits) == ([], traits)


def test_rows_are_counted(tmp_path: Path) -> None:
    empty = {"query": "q", "response": " "}
    data = b"\n".join(
        json.dumps(row).encode() for row in [PAIR, {"response": "r", "query": "q"}, empty]
    )
    report, _rows = checked(tmp_path, data, ".jsonl")
    counted = report.statistics
    assert counted is not None
    assert (counted.duplicates, counted.empty_answers, counted.is_estimate) == (1, 1, False)
    assert counted.roles == {"user": 3, "assistant": 3}
    assert counted.turns == {"2": 3}
    assert sum(counted.tokens) == 3


@pytest.mark.django_db
def test_a_table_becomes_a_dataset_of_rows_in_bounded_memory() -> None:
    """Through the real process, under its memory limit, Parquet's library included."""
    table = parquet([{"query": f"{number}", "response": "x" * 500} for number in range(20_000)])
    upload = UploadFactory.create(
        filename="Fragen.parquet", size_bytes=len(table), offset_bytes=len(table), content=table
    )
    dataset = checking.upload_check(upload_id=upload.pk)
    assert dataset is not None
    assert (dataset.state, dataset.rows) == (DatasetState.READY, 20_000), dataset.errors
    assert (dataset.file_format, dataset.name) == ("parquet", "Fragen")
    assert dataset.storage_name.endswith(".jsonl")
    assert dataset.index_name
    assert Upload.objects.get(pk=upload.pk).dataset == dataset


_WITH_PEAK = """
from loraforge.datasets import rowcheck
rowcheck.main()
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize(
    ("suffix", "data", "error"),
    [
        (".jsonl", b'{"text": "x", "a": [' + b'{"":0},' * 1_500_000 + b"0]}", "rows:too_complex"),
        (".parquet", parquet([{"text": "x" * 150_000_000}] * 2), "rows:too_complex"),
    ],
    ids=["a row of a million objects", "a page of 300 MB"],
)
def test_memory_is_bounded_whatever_the_file(
    tmp_path: Path, suffix: str, data: bytes, error: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", _WITH_PEAK, str(path)],
        input=msgspec.json.encode(Task(suffix=suffix)),
        capture_output=True,
        check=True,
    )
    told, _name, peak = done.stdout.partition(b"VmHWM:")
    last = msgspec.json.decode(told.splitlines()[-1], type=Progress)
    assert last.report is not None
    assert [one.id for one in last.report.errors] == [error]
    assert int(peak.split()[0]) < 300 * 1024  # KB
