"""From a line on stdout, or a change of state, to the page; and from submit to the trainer's first act."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import docker
import redis

from nodeagent.contract.channels import LIVE_STREAM
from tests.benchmarks.page import Arrival, Page
from tests.benchmarks.running import Running, percentiles, until
from tests.benchmarks.stage import ROOT, free_port, wait_for_port

STAMP = re.compile(rb"@(\d+) ")
ENDED = re.compile(rb"@(\d+) ended")
STARTED = re.compile(rb"@(\d+) started")
FLOOR_POLL_S = 0.005


# -- a line


def line(stack: Running, *, rounds: int = 3, lines: int = 400) -> dict[str, Any]:
    """Rounds of ours and of the floor take turns; medians over the rounds."""
    ours, floor, ends = [], [], []
    for number in range(rounds + 1):
        latencies, end_ms = _line_ours(stack, lines if number else 50)
        floor_latencies = _line_floor(stack, lines if number else 50)
        if number:  # the first is for warming up
            ours.append(percentiles(latencies))
            floor.append(percentiles(floor_latencies))
            ends.append(end_ms)
    middle, bare = _medians(ours), _medians(floor)
    return {
        "ours_ms": middle,
        "floor_ms": bare,
        "rounds": ours,
        "ratio_p50": round(middle["p50"] / bare["p50"], 1),
        "last_line_to_succeeded_ms": round(median(ends), 1),
        "lines_per_round": lines,
    }


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(median(one[name] for one in rounds), 1) for name in rounds[0]}


def _latencies(arrivals: list[Arrival]) -> list[float]:
    """Milliseconds of each stamped line; a line counts when it first shows."""
    first: dict[int, float] = {}
    for arrival in arrivals:
        for stamp in STAMP.findall(arrival.text):
            first.setdefault(int(stamp), (arrival.at_ns - int(stamp)) / 1e6)
    return list(first.values())


def _line_ours(stack: Running, lines: int) -> tuple[list[float], float]:
    job_id = stack.job(lines=lines, start=False)
    with _job_page(stack, job_id) as page:
        stack.client.post(f"jobs/{job_id}/start/")
        shown = until("the job's end", lambda: page.status("succeeded"), timeout_s=120)
        _all_shown(page, lines)
        found = [one for one in page.arrivals if b'"type":"log"' in one.text]
    latencies = _latencies(found)
    ended = next(int(stamp[1]) for one in found if (stamp := ENDED.search(one.text)))
    return latencies, (shown.at_ns - ended) / 1e6


def _all_shown(page: Page, lines: int) -> None:
    """Started, the lines, ended: a latency that leaves out what was lost would be a lie."""
    until("every line", lambda: len(_latencies(page.arrivals)) == lines + 2, timeout_s=20)


def _job_page(stack: Running, job_id: int) -> Page:
    return Page(f"ws://127.0.0.1:{stack.port}/ws/jobs/{job_id}/", token=stack.token)


@contextmanager
def _bare_server(stack: Running) -> Iterator[int]:
    """`tests.benchmarks.floor` on the stack's Redis; its port."""
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.floor", str(port), stack.redis_url()]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        wait_for_port(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _line_floor(stack: Running, lines: int) -> list[float]:
    """Writer -> file -> a reader that looks every 5 ms -> XADD -> XREAD -> a bare websocket."""
    console = stack.data / "floor.log"
    console.write_bytes(b"")
    with _bare_server(stack) as port, Page(f"ws://127.0.0.1:{port}/") as page:
        time.sleep(0.2)  # its reader begins at the newest entry
        done = threading.Event()
        client = redis.Redis.from_url(stack.redis_url())
        reader = threading.Thread(target=_floor_tail, args=(console, client, done))
        reader.start()
        try:
            with console.open("ab") as out:
                command = [str(stack.trainer), "--max_steps", str(lines)]
                subprocess.run(command, stdout=out, check=True)
            until("the floor's lines", lambda: len(_latencies(page.arrivals)) == lines + 2)
        finally:
            done.set()
            reader.join()
        return _latencies(page.arrivals)


def _floor_tail(path: Path, client: "redis.Redis", done: threading.Event) -> None:
    with path.open("rb") as file:
        while not done.is_set():
            data = file.read()
            if data:
                client.xadd(LIVE_STREAM, {"t": "bench-floor", "f": data})
            time.sleep(FLOOR_POLL_S)


# -- a change of state


def state(stack: Running, *, rounds: int = 12) -> dict[str, Any]:
    """From the row of the change (its time is taken before the commit) to its frame at the page."""
    changes: dict[str, list[float]] = {}
    pressed: list[float] = []
    for _round in range(rounds):
        for name, after_ms in _state_round(stack, pressed):
            changes.setdefault(name, []).append(after_ms)
    everything = [value for values in changes.values() for value in values]
    floor = _state_floor(stack)
    ours = percentiles(everything)
    return {
        "ours_ms": ours,
        "by_state_p50_ms": {name: round(median(values), 1) for name, values in changes.items()},
        "pressed_to_page_ms": percentiles(pressed),
        "floor_ms": floor,
        "ratio_p50": round(ours["p50"] / floor["p50"], 1),
        "changes": len(everything),
    }


def _state_round(stack: Running, pressed: list[float]) -> Iterator[tuple[str, float]]:
    """Start a job, stop it while it runs, look when each state was shown."""
    job_id = stack.job(lines=3000, start=False)
    with _job_page(stack, job_id) as page:
        until("the page", lambda: page.status("draft"))
        for verb, body, shows, then in (
            ("start", None, "queued", "running"),
            ("stop", {"mode": "now"}, "stopping", "stopped"),
        ):
            begin_ns = time.monotonic_ns()
            stack.client.post(f"jobs/{job_id}/{verb}/", body)
            shown = until(shows, partial(page.status, shows))
            pressed.append((shown.at_ns - begin_ns) / 1e6)
            until(then, partial(page.status, then))
            time.sleep(0.3)
        for event in stack.client.pages(f"jobs/{job_id}/events/"):
            arrival = page.status(event["target"].lower())
            if arrival is not None and event["target"].lower() != "draft":
                at = datetime.fromisoformat(event["at"]).timestamp()
                yield event["target"].lower(), (arrival.wall_s - at) * 1000


def _state_floor(stack: Running, *, count: int = 200) -> dict[str, float]:
    """XADD -> XREAD -> a bare websocket."""
    client = redis.Redis.from_url(stack.redis_url())
    with _bare_server(stack) as port, Page(f"ws://127.0.0.1:{port}/") as page:
        time.sleep(0.2)
        for _number in range(count):
            stamp = f"@{time.monotonic_ns()} "
            client.xadd(LIVE_STREAM, {"t": "bench-floor", "f": stamp})
            time.sleep(0.01)
        until("the floor's frames", lambda: len(_latencies(page.arrivals)) == count)
        return percentiles(_latencies(page.arrivals))


# -- submit to start


def start(stack: Running, *, rounds: int = 12) -> dict[str, Any]:
    """From sending the submit to the trainer's first act, less the same program started by hand (as a
    process, or by the engine's own API in a container without network).
    """
    _start_floor_ms(
        stack
    )  # the first one reads what it starts from the disk, which is nobody's part
    whole, raw, ways = [], [], []
    for _round in range(rounds):
        begin_ns = time.monotonic_ns()
        job_id = stack.job(lines=5, start=True)
        stack.job_end(job_id)
        console = (stack.job_folder(job_id) / "console.log").read_bytes()
        whole.append((_started_ns(console) - begin_ns) / 1e6)
        ways.append(_way(stack, job_id))
        raw.append(_start_floor_ms(stack))
    beyond = [ours - bare for ours, bare in zip(whole, raw, strict=True)]
    return {
        "ours_ms": percentiles(whole),
        "floor_raw_start_ms": percentiles(raw),
        "beyond_ms": percentiles(beyond),
        "worst_way_s": ways[beyond.index(max(beyond))],
    }


def _way(stack: Running, job_id: int) -> dict[str, float | None]:
    """Part of the way to the first step -> seconds that it took: tells where a slow start was slow."""
    attempt = stack.client.get(f"jobs/{job_id}/attempts/")["results"][0]
    return {one["name"]: one["seconds"] for one in attempt["timeline"]}


def _start_floor_ms(stack: Running) -> float:
    """The trainer's first act after it was started by hand."""
    arguments = ["--max_steps", "0"]
    begin_ns = time.monotonic_ns()
    if not stack.image:
        done = subprocess.run([str(stack.trainer), *arguments], capture_output=True, check=True)
        return (_started_ns(done.stdout) - begin_ns) / 1e6
    engine = docker.from_env()
    try:
        begin_ns = time.monotonic_ns()
        container = engine.containers.create(
            stack.image, ["python", *arguments], network_mode="none"
        )
        container.start()
        container.wait()
        output = container.logs()
        container.remove()
    finally:
        engine.close()
    return (_started_ns(output) - begin_ns) / 1e6


def _started_ns(output: bytes) -> int:
    found = STARTED.search(output)
    assert found is not None, output
    return int(found[1])
