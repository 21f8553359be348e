"""How a running attempt is ended: told once, given time, and more of it while it saves; then killed."""

import logging
import time

from nodeagent.contract.commands import Stop
from nodeagent.journal import Handle, Record
from nodeagent.runtimes.base import Runtime, Signal
from nodeagent.supervisor.closing import last_of, training_began
from nodeagent.workspace import JobFolder

log = logging.getLogger(__name__)

NOW_GRACE_S = 2.0
KILL_AGAIN_S = 2.0
# A checkpoint that has not grown for so long is stuck.
SAVE_STUCK_S = 60.0
_OF_A_SAVE = frozenset({"saving", "checkpoint", "stopped", "train_end"})
_CHECKPOINT = "checkpoint-"


class Stopping:
    """The end of one attempt; called by the supervisor's thread alone."""

    def __init__(self, record: Record, folder: JobFolder, runtime: Runtime) -> None:
        self._record = record
        self._folder = folder
        self._runtime = runtime
        self._told = ""
        self._kill_at = 0.0
        self._latest = 0.0
        self._grown: tuple[int, int] | None = None

    def again(self) -> None:
        """The record's stop is new or sharper: tell it."""
        self._told = ""

    def apply(self, handle: Handle, now: float) -> None:
        """Do what the record's stop asks for by now. now: the monotonic clock."""
        stop = self._record.stop
        if stop is None:
            return
        if self._told != stop.mode:
            self._tell(stop, handle, now)
        elif now >= self._kill_at:
            if stop.mode == "save" and now < self._latest and self._is_saving():
                self._kill_at = min(now + SAVE_STUCK_S, self._latest)
                return
            log.warning("lf-%s-a%s: did not end in time, killed", *self._record.key)
            self._runtime.signal(handle, self._folder, Signal.KILL)
            self._kill_at = now + KILL_AGAIN_S

    def _tell(self, stop: Stop, handle: Handle, now: float) -> None:
        gentle = stop.mode == "save"
        if not (gentle and self._told_by_file()):
            self._runtime.signal(handle, self._folder, Signal.TERM if gentle else Signal.TERM_ALL)
        self._told = stop.mode
        self._grown = None
        grace_s = stop.grace_s if gentle else NOW_GRACE_S
        most_s = max(grace_s, stop.save_max_s) if gentle else grace_s
        # also across a restart of the agent: this clock runs since the machine's start, whatever the wall's does
        passed_s = max(time.monotonic() - self._record.stop_at, 0.0)
        self._kill_at = now + grace_s - min(passed_s, grace_s)
        self._latest = now + most_s - min(passed_s, most_s)

    def _told_by_file(self) -> bool:
        """Several processes that train are told by their control file.

        A signal reaches torch's launcher, which kills its ranks half a minute later, saved or not.
        """
        spec = self._record.spec
        if spec is None or spec.processes <= 1 or not training_began(self._folder):
            return False
        try:
            self._folder.control_put("stop")
        except OSError as error:
            log.warning("lf-%s-a%s: its control folder: %s", *self._record.key, error)
            return False
        return True

    def _is_saving(self) -> bool:
        """Whether a checkpoint is being written, and has grown since this was last asked."""
        if last_of(self._folder, _OF_A_SAVE) != "saving":
            return False
        before, self._grown = self._grown, self._size()
        return before != self._grown

    def _size(self) -> tuple[int, int]:
        """Of what lies in checkpoints: bytes, and the newest change."""
        files = [one for one in self._folder.walk().files if _CHECKPOINT in one.path]
        return sum(one.size_bytes for one in files), max(
            (one.modified_ns for one in files), default=0
        )
