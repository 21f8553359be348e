"""Ending what may be replaced elsewhere: only where the start said so, and long before that may happen.

Elsewhere means that the control plane counts this node as lost. It counts from the last heartbeat that it
heard; the agent counts from when it sent the newest heartbeat that it knows to be heard. So the agent is
always first. The training itself keeps the same times by the lease, for an agent may be dead.
"""

import threading
import time
from typing import Literal

from nodeagent.contract import paths
from nodeagent.contract.commands import Start, Stop
from nodeagent.journal import Record
from nodeagent.supervisor.closing import stopped_by
from nodeagent.supervisor.lease import Lease
from nodeagent.workspace import JobFolder

FENCED = "node:fenced"
FENCED_DETAIL = "Cut off from the control plane for so long that the job may be replaced elsewhere."
FENCE = "fence"  # as the plugin says why it stopped
_MARK = f"{FENCE}-"


def clock_s() -> float:
    """Seconds since the machine's start, those while it slept as well: a node's silence is counted so, too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Contact:
    """When the newest heartbeat was sent of which the control plane said that it heard it. Thread-safe.

    boot_id: of this start of the machine; what was said about another is not about this clock. lease: where
    that is written down, for trainings and for the agent's next start.
    """

    def __init__(self, *, boot_id: str, lease: Lease) -> None:
        self._boot_id = boot_id
        self._lock = threading.Lock()
        self.lease = lease
        known_ms = lease.read(boot_id)
        now = clock_s()
        self._sent_at = now if known_ms is None else min(known_ms / 1000, now)
        self._asked_at = self._sent_at
        lease.write(boot_id, int(self._sent_at * 1000))

    def mark(self) -> str:
        """What a heartbeat carries, to be given back by whoever hears it."""
        return f"{self._boot_id}:{int(clock_s() * 1000)}"

    def heard(self, mark: str) -> None:
        """This mark came back. Anything that is none of ours counts for nothing."""
        boot_id, _colon, sent = mark.rpartition(":")
        if boot_id == self._boot_id and sent.isascii() and sent.isdecimal():
            self._take(int(sent) / 1000)

    def asking(self) -> None:
        """The control plane is asked to let this node join."""
        self._asked_at = clock_s()

    def joined(self) -> None:
        """It did, and so has heard what was asked last."""
        self._take(self._asked_at)

    def _take(self, sent_at: float) -> None:
        with self._lock:
            if self._sent_at < sent_at <= clock_s():
                self._sent_at = sent_at
                self.lease.write(self._boot_id, int(sent_at * 1000))

    def silent_s(self) -> float:
        """How long nothing was acknowledged."""
        with self._lock:
            return clock_s() - self._sent_at


def lease_environment(spec: Start) -> dict[str, str]:
    """What a training needs to keep the fence by itself; nothing where there is none."""
    if spec.fence_after_s <= 0:
        return {}
    return {
        "CB_LEASE": f"{paths.LEASE}/{paths.LEASE_FILE}",
        "CB_FENCE_AFTER_S": str(spec.fence_after_s),
        "CB_FENCE_GRACE_S": str(spec.fence_grace_s),
    }


def fenced_after_s(record: Record) -> int:
    """Cut off for so long, nothing of this attempt runs any more; 0 = it goes on."""
    spec = record.spec
    if spec is None or spec.fence_after_s <= 0:
        return 0
    return spec.fence_after_s + spec.fence_grace_s


def fence_stop(record: Record, *, silent_s: float) -> Stop | None:
    """The stop that a silence of so long asks for; None = none, or one that is as good is under way."""
    spec = record.spec
    if spec is None or not 0 < spec.fence_after_s <= silent_s or not record.is_live:
        return None
    over_s = spec.fence_after_s + spec.fence_grace_s - silent_s
    mode: Literal["save", "now"] = "save" if over_s > 0 else "now"
    known = record.stop
    if known is not None and (known.mode == "now" or (mode == "save" and _ends_by(known, over_s))):
        return None
    return Stop(
        id=f"{_MARK}{record.instance}-{record.attempt}",
        instance=record.instance,
        attempt=record.attempt,
        mode=mode,
        grace_s=max(0.0, over_s),
    )


def _ends_by(stop: Stop, over_s: float) -> bool:
    """A stop of the fence's own, or one that is over before the fence is."""
    return stop.id.startswith(_MARK) or max(stop.grace_s, stop.save_max_s) <= over_s


def is_fenced(record: Record, folder: JobFolder) -> bool:
    """It was the fence that asked this attempt to end: the agent's, or the training's own."""
    if record.stop is not None:
        return record.stop.id.startswith(_MARK)
    return fenced_after_s(record) > 0 and stopped_by(folder) == FENCE
