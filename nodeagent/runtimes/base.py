"""The port that every runtime keeps: start once, find again, look, signal, forget.

A runtime starts what it is told and watches nothing; the supervisor asks. What it starts outlives the
agent. Starting the same name twice never makes two: the second call finds the first.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec

from nodeagent.journal import Handle
from nodeagent.workspace import JobFolder


class RuntimeFault(Exception):
    """The runtime could not start the job. ``reason`` is an ``area:what`` id."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class RuntimeAway(Exception):
    """The runtime does not answer now. Nothing is known; the same call may be made again later."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """All that a runtime needs to start one attempt.

    argv: behind the Python executable, with the paths of the contract. mounts: path of the contract ->
    real folder. devices: GPU UUIDs or ``cpu-<n>``. spec_hash: tells two starts of one name apart.
    """

    name: str
    instance: int
    attempt: int
    spec_hash: str
    folder: JobFolder
    argv: list[str]
    env: dict[str, str]
    devices: list[str]
    mounts: dict[str, Path]
    processes: int = 1
    image: str = ""
    network: bool = False


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """A short program of ours; its folder is `paths.FETCH` to it, and takes its output as ``run/log.txt``.

    argv: behind the Python executable, with the paths of the contract. token: a file that it alone may
    read, seen at `paths.FETCH_TOKEN`; None = it has none. devices: UUIDs of GPUs that it tries; without
    any it has a network to fetch by, with some it has none.
    """

    name: str
    folder: Path
    argv: list[str]
    image: str = ""
    token: Path | None = None
    devices: list[str] = []


class Signal(StrEnum):
    """What a running job can be told."""

    TERM = "term"  # to the trainer: save and stop
    TERM_ALL = "term_all"  # to every process of it
    KILL = "kill"  # to every process of it


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How a started job is. exit_code as a shell tells it (128 + signal); None = nobody knows."""

    running: bool
    exit_code: int | None = None
    killed_by: int | None = None
    reason: str = ""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a job's processes use now; 100 percent = one core."""

    cpu_percent: float
    memory_bytes: int
    processes: int


class Say(Protocol):
    """Takes how far something is: bytes, 0 = not known, and one line for people."""

    def __call__(self, *, done_bytes: int = 0, total_bytes: int = 0, detail: str = "") -> None: ...


class Runtime(Protocol):
    """See the module's text. Every method may be called from any thread.

    Each may raise RuntimeAway, `state` alone never does.
    """

    name: str

    def prepare(self, image: str, *, say: Say, cancelled: Callable[[], bool]) -> None:
        """Have what the job's image needs on this node; may take minutes. Raises RuntimeFault.

        Returns early when ``cancelled``.
        """
        ...

    def start(self, launch: Launch) -> Handle:
        """Start it, or find what was started under this name before. Raises RuntimeFault."""
        ...

    def find(self, name: str, folder: JobFolder) -> Handle | None:
        """What was started under this name and may still run, else None."""
        ...

    def state(self, handle: Handle, folder: JobFolder) -> State:
        """How it is now; while the runtime is away, how it was last seen."""
        ...

    def signal(self, handle: Handle, folder: JobFolder, signal: Signal) -> None:
        """Tell it; one that has ended already is not told."""
        ...

    def usage(self, handle: Handle) -> Usage | None:
        """What it uses, None when it has ended."""
        ...

    def clean(self, handle: Handle, folder: JobFolder) -> None:
        """After the end: nothing of it may be left running."""
        ...

    def forget(self, handle: Handle) -> None:
        """After the end is acknowledged: give back what the runtime itself still keeps of it."""
        ...

    def running(self, known: Iterable[tuple[str, JobFolder]]) -> list[str]:
        """Names of all jobs of this node that run. known: names and folders of all that lie here."""
        ...

    @property
    def job_user(self) -> tuple[int, int] | None:
        """Whom jobs and errands run as, None = as the agent itself."""
        ...

    def owns(self, pid: int) -> bool | None:
        """Whether this process is of a job or errand of this agent; None = it is not seen from here."""
        ...

    def errand_start(self, errand: Errand) -> None:
        """Start it; what an earlier life of the agent started under its name is ended. Raises RuntimeFault."""
        ...

    def errand_runs(self, name: str) -> bool:
        """Whether it still runs."""
        ...

    def errands_clear(self) -> None:
        """End all that an earlier life of the agent left running, before the first of this one."""
        ...

    def errand_end(self, name: str) -> None:
        """End it if it runs, and keep nothing of it."""
        ...

    def close(self) -> None:
        """Let go of what this object holds. What it started goes on."""
        ...
