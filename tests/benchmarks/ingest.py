"""How many lines a second one core stores, frames included; beside bare inserts of the same bytes."""

import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import django

from nodeagent.contract.reports import Stream
from tests.benchmarks.stage import Stage

LINE = b"{'loss': '1.2345', 'grad_norm': '0.9876', 'learning_rate': '1e-4', 'step': '%08d'}\n"
METRIC = (
    b'{"loss": 5.84443665, "grad_norm": 1.49108601, "learning_rate": 0.00088786, "token_acc": 0.02797203,'
    b' "epoch": 0.22222222, "global_step/max_steps": "%d/200000", "elapsed_time": "0s",'
    b' "remaining_time": "2s", "train_speed(s/it)": 0.08471}\n'
)
PIECE_LINES = 500
BATCH_PIECES = 8


def run(stage: Stage, *, lines: int = 400_000, metric_lines: int = 40_000) -> dict[str, Any]:
    """Lines per second of CPU time of this process; wall time beside it."""
    django.setup()
    batches = list(_batches(LINE, lines))
    return {
        "log": _ours("log", batches, lines),
        "log_floor_bare_insert": _floor(stage, batches, lines),
        "metric": _ours("metric", list(_batches(METRIC, metric_lines)), metric_lines),
    }


def _batches(template: bytes, lines: int) -> Iterator[list[tuple[int, int, bytes]]]:
    position, pieces = 0, []
    for first in range(0, lines, PIECE_LINES):
        data = b"".join(
            template % number for number in range(first, min(lines, first + PIECE_LINES))
        )
        pieces.append((position, position + len(data), data))
        position += len(data)
        if len(pieces) == BATCH_PIECES:
            yield pieces
            pieces = []
    if pieces:
        yield pieces


def _rates(lines: int, cpu: float, wall: float) -> dict[str, int]:
    return {"lines_per_cpu_s": int(lines / cpu), "lines_per_s": int(lines / wall)}


def _ours(
    stream: Stream, batches: list[list[tuple[int, int, bytes]]], lines: int
) -> dict[str, int]:
    # Django's models can be imported only after the stage chose the data folder.
    from django.db import transaction  # noqa: PLC0415

    from loraforge.core import live  # noqa: PLC0415
    from loraforge.core.redis import connection  # noqa: PLC0415
    from loraforge.telemetry.pieces import Piece  # noqa: PLC0415
    from loraforge.telemetry.services import chunks_store  # noqa: PLC0415
    from tests.benchmarks.rows import running_job  # noqa: PLC0415

    attempt = running_job().attempts.get()
    cpu, wall = time.process_time(), time.perf_counter()
    for pieces in batches:
        with transaction.atomic():
            stored = chunks_store(
                attempt=attempt,
                stream=stream,
                pieces=[Piece(*piece) for piece in pieces],
            )
        live.publish(connection(), stored.frames)
    return _rates(lines, time.process_time() - cpu, time.perf_counter() - wall)


def _floor(stage: Stage, batches: list[list[tuple[int, int, bytes]]], lines: int) -> dict[str, int]:
    database = sqlite3.connect(stage.folder / "floor.sqlite3", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute("CREATE TABLE chunk (start INTEGER PRIMARY KEY, data BLOB)")
    cpu, wall = time.process_time(), time.perf_counter()
    for pieces in batches:
        database.execute("BEGIN IMMEDIATE")
        database.execute(
            "INSERT INTO chunk VALUES (?, ?)",
            (pieces[0][0], b"".join(piece[2] for piece in pieces)),
        )
        database.execute("COMMIT")
    return _rates(lines, time.process_time() - cpu, time.perf_counter() - wall)
