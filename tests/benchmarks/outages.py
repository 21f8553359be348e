"""How soon an end, a death and a silence are known, and how soon it goes on after each fault."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from tests.benchmarks.running import Running, percentiles, until

LONG = 1_000_001
ENDS = 7
LINES = 200_000
SERVICES = ("web", "control", "core", "redis", "nodeagent")


def detection(stack: Running) -> dict[str, Any]:
    """Exit -> API in ms; death of the node's agent -> SUSPECT and OFFLINE in seconds, by the real settings."""
    return {
        "exit_to_api_ms": percentiles([_exit(stack) for _turn in range(ENDS)]),
        **_silence(stack),
    }


def _trainer_of(stack: Running, job: int) -> int:
    words = (stack.job_folder(job) / "run" / "pids").read_text().split()
    return int(words[1])


def _running(stack: Running) -> int:
    job = stack.job(lines=LONG, start=True)
    until("lines", lambda: stack.client.get(f"jobs/{job}/log/", limit=1)["lines"])
    return job


def _exit(stack: Running) -> float:
    """Milliseconds from kill -9 of the trainer until the API says that its attempt is over.

    A kill from outside is the node's fault, so the platform makes the next attempt at once.
    """
    job = _running(stack)
    pid = _trainer_of(stack, job)
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)

    def is_over() -> bool:
        told = stack.client.get(f"jobs/{job}/")
        return bool(told["state"] != "running" or told["attempt"] > 1)

    until("the end", is_over)
    took_s = time.perf_counter() - began
    _cancelled(stack, job)
    return took_s * 1000


def _cancelled(stack: Running, job: int) -> None:
    """Over for good, so that the next job finds its place free."""
    stack.client.post(f"jobs/{job}/cancel/")
    stack.job_end(job)


def _silence(stack: Running) -> dict[str, float]:
    def state() -> str:
        return str(stack.sql("select state from nodes_node")[0][0])

    began = time.perf_counter()
    os.kill(stack.pid_of("nodeagent"), signal.SIGSTOP)
    found = {}
    until("suspect", lambda: state() == "suspect", timeout_s=120)
    found["death_to_suspect_s"] = round(time.perf_counter() - began, 1)
    until("offline", lambda: state() == "offline", timeout_s=120)
    found["death_to_offline_s"] = round(time.perf_counter() - began, 1)
    os.kill(stack.pid_of("nodeagent"), signal.SIGCONT)
    began = time.perf_counter()
    until("the node", lambda: state() == "online", timeout_s=120)
    found["return_to_online_s"] = round(time.perf_counter() - began, 1)
    return found


def recovery(stack: Running) -> dict[str, Any]:
    """Seconds from kill -9 of a service until the API shows a line that was written after it."""
    job = _running(stack)
    found = {name: _recovered(stack, job, partial(stack.kill, name)) for name in SERVICES}
    _cancelled(stack, job)
    return found


def _recovered(stack: Running, job: int, fault: Callable[[], None]) -> float:
    console = stack.job_folder(job) / "console.log"
    fault()
    began, position = time.perf_counter(), console.stat().st_size
    query = (
        'select coalesce(max(c."end"), 0) from telemetry_logchunk c'
        " join instances_attempt a on a.id = c.attempt_id where a.instance_id = ?"
    )

    def shown() -> bool:
        try:
            stack.client.get(f"jobs/{job}/")
        except Exception:  # the web process is what was killed
            return False
        return int(stack.sql(query, job)[0][0]) > position

    until("a new line", shown, timeout_s=120)
    took_s = round(time.perf_counter() - began, 1)
    time.sleep(3)  # the next fault meets a whole stack
    return took_s


def node_log(stack: Running) -> dict[str, Any]:
    """One job that writes as fast as it can: lines a second that are stored, and what is missing."""
    rates = [_flood(stack) for _turn in range(3)]
    return {
        "lines": LINES,
        "stored_lines_per_s": round(median(rate for rate, _gaps in rates)),
        "gaps": sum(gaps for _rate, gaps in rates),
    }


def _flood(stack: Running) -> tuple[float, int]:
    began = time.perf_counter()
    job = stack.job(lines=LINES, start=True)  # this many: without pauses
    stack.job_end(job)
    size = (stack.job_folder(job) / "console.log").stat().st_size
    query = (
        'select c.start, c."end" from telemetry_logchunk c'
        " join instances_attempt a on a.id = c.attempt_id where a.instance_id = ? order by c.start"
    )
    until("the whole log", lambda: (rows := stack.sql(query, job)) and rows[-1][1] == size)
    took_s = time.perf_counter() - began
    rows = stack.sql(query, job)
    gaps = sum(
        start != end for (start, _), end in zip(rows, [0, *(row[1] for row in rows)], strict=False)
    )
    return LINES / took_s, gaps
