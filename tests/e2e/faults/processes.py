"""Processes that can be killed, frozen and thawed, and the keeper that starts them again as supervisord does."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from nodeagent.runtimes.process import MARKER
from tests.e2e.driver import REPOSITORY, wait_for

KEEP_EVERY_S = 0.3
GONE_S = 30


class Service:
    """One service. ``command`` is what runs; its output is appended to ``log``."""

    def __init__(
        self, name: str, command: list[str], *, environment: dict[str, str], log: Path
    ) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.log = log
        self.wanted = False
        self.ends: list[int] = []  # exit codes, also of kills
        self.killed = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self.wanted = True
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=REPOSITORY,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def keep(self) -> None:
        """Start it again if it has ended by itself or by a kill, and is wanted."""
        if self.wanted and self._process is not None and self._process.poll() is not None:
            self.ends.append(self._process.returncode)
            self.start()

    def kill(self, *, stay_down: bool = False) -> None:
        """kill -9; the keeper starts it again unless it is to stay down."""
        assert self._process is not None
        self.wanted = not stay_down
        self.killed += 1
        victim = self._process
        with suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
        if stay_down:
            self.ends.append(victim.wait(GONE_S))
        else:
            wait_for(f"{self.name} to be started again", lambda: self._process is not victim)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        self.wanted = False
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(GONE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(GONE_S)


class Keeper:
    """Looks after all services in a thread of its own."""

    def __init__(self) -> None:
        self.services: list[Service] = []
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """The last started ends first."""
        self._stopping.set()
        self._thread.join()
        for service in reversed(self.services):
            service.stop()

    def _run(self) -> None:
        while not self._stopping.wait(KEEP_EVERY_S):
            for service in list(self.services):
                service.keep()


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it has started."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def freeze_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()


def thaw_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def trainers(folder: Path) -> dict[str, list[int]]:
    """Job folder -> pids of the shims below this folder; a job that runs once has one."""
    found: dict[str, list[int]] = {}
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = process.info["cmdline"] or []
        if any(word.endswith("/shim.sh") for word in words):
            run = next((word for word in words if word.startswith(f"{folder}/")), None)
            if run is not None and process.status() != psutil.STATUS_ZOMBIE:
                found.setdefault(run.removesuffix("/run"), []).append(int(process.info["pid"]))
    return found


def members(folder: Path) -> Iterator[tuple[int, str]]:
    """Every process of a job below this folder, with the job's folder."""
    for pid in psutil.pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for entry in environment:
            if entry.startswith(f"{MARKER}={folder}/".encode()):
                yield pid, entry.decode().partition("=")[2]


def jobs_end(folder: Path) -> None:
    """kill -9 of all that jobs below this folder have started; shims first, so that none tells of an end."""
    for pids in trainers(folder).values():
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    for pid, _folder in list(members(folder)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
