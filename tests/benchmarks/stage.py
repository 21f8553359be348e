"""A throw-away installation for a measurement: data folder, Redis, database, web process."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

ROOT = Path(__file__).resolve().parents[2]
START_WAIT_S = 60


@dataclass
class Stage:
    """Where everything is; processes end with the stage."""

    folder: Path
    redis_url: str
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        """A process that ends with the stage; its output goes to a file of the folder."""
        log = (self.folder / f"process-{len(self.processes)}.log").open("wb")
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        self.processes.append(process)
        return process

    def web(self) -> tuple[int, "subprocess.Popen[bytes]"]:
        """The web process with the flags of `loraforge.asgi`, and its port."""
        port = free_port()
        process = self.start(
            sys.executable, "-m", "uvicorn", "loraforge.asgi:application",
            "--host", "127.0.0.1", "--port", str(port), "--ws", "websockets-sansio",
            "--ws-per-message-deflate", "false", "--ws-max-size", "65536", "--lifespan", "on",
            "--no-access-log", "--log-level", "warning",
        )  # fmt: skip
        wait_for_port(port, process)
        return port, process

    def start_ingest(self) -> "subprocess.Popen[bytes]":
        """Ingest alone."""
        return self.start(sys.executable, "manage.py", "core_services", "--only", "ingest")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Until somebody listens."""
    deadline = time.monotonic() + START_WAIT_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            message = f"{process.args!r} does not listen"
            raise RuntimeError(message)
        time.sleep(0.05)


def cpu_s(process: "subprocess.Popen[bytes]") -> float:
    """CPU seconds that a process has used (Linux)."""
    fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def stage() -> Iterator[Stage]:
    """Sets the environment, so that Django may be imported only after this."""
    with tempfile.TemporaryDirectory(prefix="lf-bench-") as name:
        folder = Path(name)
        url = f"unix://{folder}/redis.sock?db=0"
        os.environ.update(
            LORAFORGE_DATA=name, REDIS_URL=url, DJANGO_SETTINGS_MODULE="loraforge.settings.base",
            LORAFORGE_LOG_LEVEL="ERROR",
        )  # fmt: skip
        found = Stage(folder, url)
        try:
            _redis_start(found)
            subprocess.run(
                [sys.executable, "manage.py", "migrate", "-v", "0"],
                cwd=ROOT,
                check=True,
                timeout=120,
            )
            yield found
        finally:
            for process in reversed(found.processes):
                process.send_signal(signal.SIGTERM)
            for process in found.processes:
                process.wait(10)


def _redis_start(found: Stage) -> None:
    fetched = subprocess.run(
        [sys.executable, "tools/redis_fetch.py", str(ROOT / "var" / "redis-binary")],
        cwd=ROOT, check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    binary = fetched.stdout.strip().splitlines()[-1]
    found.start(
        binary, "--port", "0", "--unixsocket", f"{found.folder}/redis.sock",
        "--dir", str(found.folder), "--save", "",
    )  # fmt: skip
    client = redis.Redis.from_url(found.redis_url)
    deadline = time.monotonic() + START_WAIT_S
    while True:
        try:
            client.ping()
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def percentile(values: list[float], share: float) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")
