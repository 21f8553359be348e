"""How much a running job has written, looked at now and then, and what becomes of one that writes too much."""

import logging
import time
from typing import TYPE_CHECKING

from nodeagent.contract.commands import Stop
from nodeagent.journal import Record
from nodeagent.supervisor.parts import Parts
from nodeagent.workspace import JobFolder, folder_bytes

if TYPE_CHECKING:
    from concurrent.futures import Future

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
COST_PART = 20  # a look that took a second is followed by this many seconds without one
WARN_PART = 0.9
QUOTA = "user:disk_quota"
NEARLY = "user:disk_quota_near"


def _shown(size_bytes: int) -> str:
    return f"{size_bytes / 1024**3:.1f} GiB"


class DiskWatch:
    """Of one attempt; stepped by the supervisor's thread, the walk is the pool's."""

    def __init__(self, record: Record, folder: JobFolder, parts: Parts) -> None:
        self._record = record
        self._folder = folder
        self._parts = parts
        self._looking: Future[tuple[int, float]] | None = None
        self._look_at = 0.0
        self._is_warned = False
        self.used_bytes: int | None = None

    @property
    def limit_bytes(self) -> int:
        """The smaller of the job's limit and the node's; 0 = none."""
        asked = self._record.spec.disk_bytes if self._record.spec else 0
        return min((one for one in (asked, self._parts.job_disk_bytes) if one), default=0)

    def step(self, now: float) -> bool:
        """Look when it is time. True when the job was found to be over its limit just now."""
        if self._looking is None:
            if now >= self._look_at:
                self._looking = self._parts.pool.submit(self._look)
            return False
        if not self._looking.done():
            return False
        looking, self._looking = self._looking, None
        self.used_bytes, took_s = looking.result()
        self._look_at = now + max(LOOK_EVERY_S, COST_PART * took_s)
        return self._judge(self.used_bytes)

    def _look(self) -> tuple[int, float]:
        """In the pool."""
        began = time.monotonic()
        return folder_bytes(self._folder.path), time.monotonic() - began

    def _judge(self, used: int) -> bool:
        limit, record = self.limit_bytes, self._record
        if not limit or used < limit * WARN_PART:
            return False
        detail = f"Its files take {_shown(used)} of {_shown(limit)}."
        if used < limit:
            if not self._is_warned:
                self._is_warned = True
                self._parts.outbox.note(record, reason=NEARLY, detail=detail)
            return False
        if record.verdict:
            return False
        log.warning("lf-%s-a%s: over its limit, ended: %s", record.instance, record.attempt, detail)
        record.verdict, record.detail = QUOTA, detail
        record.stop = Stop(
            id=f"quota-{record.instance}-{record.attempt}",
            instance=record.instance,
            attempt=record.attempt,
            mode="now",
        )
        record.stop_at = time.monotonic()
        self._parts.outbox.keep(record)
        return True
