"""How fast rows are checked, beside reading the same file line by line and parsing each line; CPU time decides.

CPU seconds, not the clock: the check is one thread that computes, and others may be at the machine. The hash
runs beside it on another core and is counted too.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from loraforge.datasets.rowcheck import Progress, Task
from tests.benchmarks.stage import ROOT, Stage

_PEAK = """
from loraforge.datasets import rowcheck
rowcheck.main()
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def run(stage: Stage, *, megabytes: int = 256, rounds: int = 3) -> dict[str, Any]:
    """The best of some rounds each; floors and ours take turns."""
    path = _rows(stage.folder / "validation.jsonl", megabytes * 1024**2)
    size = path.stat().st_size / 1e6
    best: dict[str, float] = {}
    peak = 0.0
    for _round in range(rounds):
        for name, work in (("floor_lines", _lines), ("floor_json", _parsed)):
            best[name] = max(best.get(name, 0.0), size / _cpu_s(work, path))
        seconds, peak = _checked(path)
        best["check"] = max(best.get("check", 0.0), size / seconds)
    return {
        "megabytes": round(size),
        "mb_per_cpu_s": {name: round(rate) for name, rate in best.items()},
        "check_of_lines": round(best["check"] / best["floor_lines"], 2),
        "check_of_json": round(best["check"] / best["floor_json"], 2),
        "peak_memory_mb": round(peak),
    }


def _rows(path: Path, size: int) -> Path:
    """Rows of a question and an answer, about 1 KB each, all different."""
    with path.open("wb") as file:
        number = 0
        while file.tell() < size:
            asked = f"Question {number}: " + "why does it rain " * 12
            turns = [
                {"role": "user", "content": asked},
                {"role": "assistant", "content": "because " * 90},
            ]
            file.write(json.dumps({"messages": turns}).encode() + b"\n")
            number += 1
    return path


def _cpu_s(work: Callable[[Path], None], path: Path) -> float:
    begin = time.process_time()
    work(path)
    return time.process_time() - begin


def _lines(path: Path) -> None:
    with path.open("rb") as file:
        for _line in file:
            pass


def _parsed(path: Path) -> None:
    with path.open("rb") as file:
        for line in file:
            json.loads(line)


def _checked(path: Path) -> tuple[float, float]:
    """(CPU seconds, peak MB) of the process that checks an upload."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(path)],
        cwd=ROOT, input=msgspec.json.encode(Task(suffix=".jsonl")), capture_output=True, check=True,
    )  # fmt: skip
    after = os.times()
    told, _name, peak = done.stdout.partition(b"VmHWM:")
    last = msgspec.json.decode(told.splitlines()[-1], type=Progress)
    if last.report is None or last.report.error_count:
        raise RuntimeError(str(last))
    used = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    return used, int(peak.split()[0]) / 1000
