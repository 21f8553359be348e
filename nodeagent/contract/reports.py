"""Reports: node agent -> control plane, MessagePack in a Redis stream, at least once.

A position is the byte range [start, end) of the file for the streams ``log``, ``metric`` and ``event``,
the journal's sequence number for ``phase``, ``result`` and ``files`` (start = seq - 1, end = seq), and
0 for ``heartbeat`` and ``sample``, which are worthless once late and are never resent.
"""

import hashlib
from collections.abc import Iterable
from typing import Literal

import msgspec

from nodeagent.contract import VERSION
from nodeagent.contract.gpus import GpuState
from nodeagent.contract.phases import Outcome, Phase

Stream = Literal["log", "metric", "event", "phase", "result", "files", "heartbeat", "sample"]

FILE_STREAMS: tuple[Stream, ...] = ("log", "metric", "event")
JOURNAL_STREAMS: tuple[Stream, ...] = ("phase", "result", "files")


class Chunk(msgspec.Struct, frozen=True, kw_only=True, tag="chunk"):
    """Raw bytes of a file, exactly those at [start, end). ``metric`` and ``event`` end with a newline."""

    data: bytes


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step of getting an attempt ready, by the node's clock; ended 0 = under way. name: see StepName.

    done_bytes, total_bytes: of what is fetched, 0 = not known. detail: one line for people. revision: of
    what came from a model hub, as that hub names it.
    """

    name: str
    began: float
    ended: float = 0.0
    done_bytes: int = 0
    total_bytes: int = 0
    detail: str = ""
    revision: str = ""


class Gap(msgspec.Struct, frozen=True, kw_only=True, tag="gap"):
    """The bytes of the log at [start, end) are not sent: more lines a second than the rate caps allow.

    The file has them; the committed end moves over them. start is behind a newline, or 0.
    """

    lines: int


class PhaseChange(msgspec.Struct, frozen=True, kw_only=True, tag="phase"):
    """An attempt reached a phase.

    reason: ``area:what`` of contract error ids when it was refused or could not start, with detail as
    one line for people. sizes: at ENDED, the final size in bytes of each file stream, so that the
    receiver knows whether it has everything. killed_by: signal number, when a signal ended it. steps: of
    getting ready, as they are by now. dirty: at ENDED, GPU -> why it is not free yet, one line.
    """

    phase: Phase
    detail: str = ""
    reason: str = ""
    exit_code: int | None = None
    killed_by: int | None = None
    outcome: Outcome = Outcome.NONE
    pid: int | None = None
    sizes: dict[str, int] = {}
    steps: list[Step] = []
    dirty: dict[str, str] = {}


class CommandResult(msgspec.Struct, frozen=True, kw_only=True, tag="result"):
    """What became of a command. error is an ``area:what`` id, empty when done."""

    command: str
    kind: str
    error: str = ""
    message: str = ""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A regular file below the job's directory; path is relative, with forward slashes.

    is_cut: a file of a checkpoint that ends in the middle: its trainer was killed while it saved, or
    still saves.
    """

    path: str
    size_bytes: int
    sha256: str
    modified_at: float
    is_cut: bool = False


class Files(msgspec.Struct, frozen=True, kw_only=True, tag="files"):
    """The manifest of an attempt. complete = made after the end; otherwise after a checkpoint."""

    files: list[File]
    complete: bool
    skipped: int = 0  # links, FIFOs and other things that are no regular file


class HostSample(msgspec.Struct, frozen=True, kw_only=True):
    """The machine now; percentages 0..100."""

    cpu_percent: float
    memory_used_bytes: int
    memory_total_bytes: int
    disk_free_bytes: int
    disk_total_bytes: int
    load_1m: float = 0.0


class GpuSample(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU now, by NVML. None = the card does not tell.

    slowdown_c: where it begins to slow itself down. slowed_by: what keeps its clock down now, by NVML's names.
    ecc_uncorrected: memory errors since the driver was loaded.
    """

    uuid: str
    utilization_percent: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    slowdown_c: float | None = None
    clock_mhz: float | None = None
    slowed_by: list[str] = []
    ecc_uncorrected: int | None = None


class JobSample(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt's processes use now."""

    instance: int
    attempt: int
    cpu_percent: float
    memory_bytes: int
    processes: int


class Sample(msgspec.Struct, frozen=True, kw_only=True, tag="sample"):
    """Readings, every ``sample_s`` of the join answer."""

    host: HostSample
    gpus: list[GpuSample] = []
    jobs: list[JobSample] = []


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that the agent knows: in its journal, whatever its phase.

    fenced_after_s: cut off from the control plane for so long, nothing of it runs any more; 0 = it goes on.
    """

    instance: int
    attempt: int
    phase: Phase
    spec_hash: str
    fenced_after_s: int = 0


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """How far a `Stage` is. id: of the command.

    digest: once all is there and was read back, `staged_digest` of what its inputs are; empty before.
    error: an ``area:what`` id, why it ended without.
    """

    id: str
    done_bytes: int = 0
    total_bytes: int = 0
    digest: str = ""
    error: str = ""
    detail: str = ""


def staged_digest(hashes: Iterable[str]) -> str:
    """SHA-256 over the SHA-256s of files, each once, in order."""
    lines = "\n".join(sorted({one.lower() for one in hashes}))
    return hashlib.sha256(lines.encode()).hexdigest()


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag="heartbeat"):
    """The agent lives, and this is its inventory. unknown: containers with our labels that no journal knows.

    agent_id: as it joined.
    mark: given back in the ack hash once this is stored; only the agent reads anything in it.
    dropped_lines: of logs, left out by the rate caps since the agent began. disk: the one that holds the
    jobs' folders; total 0 = not told. cached: SHA-256 of inputs in the cache, some of them now and then.
    gpus: None = an agent that does not tell. staged: what it was told to have beforehand. models: those in its
    cache that any job may have, `<hub>:<org/name[:subfolder]>@<revision>`; None = not told this time.
    """

    boot_id: str
    agent_version: str
    held: list[Held] = []
    unknown: list[str] = []
    file_url: str = ""
    dropped_lines: int = 0
    agent_id: str = ""
    mark: str = ""
    disk_free_bytes: int = 0
    disk_total_bytes: int = 0
    cached: list[str] = []
    gpus: list[GpuState] | None = None
    staged: list[Staged] = []
    models: list[str] | None = None


Body = Chunk | Gap | PhaseChange | CommandResult | Files | Sample | Heartbeat


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One report. instance and attempt are 0 for heartbeat and sample."""

    node: str
    stream: Stream
    body: Body
    instance: int = 0
    attempt: int = 0
    start: int = 0
    end: int = 0
    at: float = 0.0  # the node's clock, seconds since 1970 UTC
    v: int = VERSION


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Report)


def report_pack(report: Report) -> bytes:
    """The report as it lies in the stream's field ``b``."""
    return _encoder.encode(report)


def report_unpack(raw: bytes) -> Report:
    """Raises one of `reading.UNREADABLE` for a poison entry."""
    return _decoder.decode(raw)
