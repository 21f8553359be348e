"""Memory of every service of an idle stack (PSS), beside the same processes without a line of ours."""

import configparser
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.running import Running
from tests.benchmarks.stage import ROOT

QUIET_S = 30.0
NOT_OURS = ("redis", "supervisord")


def run(stack: Running) -> dict[str, Any]:
    """After half a minute in which nobody asks for anything."""
    time.sleep(QUIET_S)
    pids = {name: stack.pid_of(name) for name in _services()}
    pids["supervisord"] = int((stack.data / "supervisord.pid").read_text(encoding="ascii"))
    trees = {name: _tree(pid) for name, pid in pids.items() if name != "supervisord"}
    ours = {name: _pss_mb(tree) for name, tree in trees.items()}
    ours["supervisord"] = _pss_mb([pids["supervisord"]])
    floor = _floor([name for name in ours if name not in NOT_OURS])
    floor |= {name: ours[name] for name in NOT_OURS}
    total, floor_total = sum(ours.values()), sum(floor.values())
    return {
        "pss_mb": {name: round(value, 1) for name, value in ours.items()},
        "sum_mb": round(total, 1),
        "floor_pss_mb": {name: round(value, 1) for name, value in floor.items()},
        "floor_sum_mb": round(floor_total, 1),
        "ratio": round(total / floor_total, 2),
        "processes": sum(len(tree) for tree in trees.values()) + 1,
        "up_s": stack.up_s,
    }


def _services() -> list[str]:
    """All that `make up` starts."""
    found = configparser.RawConfigParser()
    found.read(ROOT / "supervisord.conf", encoding="utf-8")
    return [one.removeprefix("program:") for one in found.sections() if one.startswith("program:")]


def _tree(pid: int) -> list[int]:
    process = psutil.Process(pid)
    return [pid, *(child.pid for child in process.children(recursive=True))]


def _pss_mb(pids: list[int]) -> float:
    """Of these processes; a page that several share counts in part for each."""
    size = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        size += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return size * 1024 / 1e6


def _floor(services: list[str]) -> dict[str, float]:
    """All at once, so that they share what the services share."""
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.libraries", name],
            cwd=ROOT, stdout=subprocess.PIPE,
        )
        for name in services
    }  # fmt: skip
    try:
        for process in processes.values():
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        return {name: _pss_mb([process.pid]) for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
            process.wait(10)
