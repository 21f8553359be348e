"""The fence from inside the trainer: it ends by itself what may be replaced elsewhere, whatever its agent does.

The agent keeps a file, the lease, with the moment when it sent the newest heartbeat that the control plane
has heard. A thread here reads it: after so long a silence the training is asked to save and stop, and
later the process is ended. An agent that is dead, frozen or not yet back changes nothing about that.
Only the standard library.

Environment (all three, or there is no fence):
  CB_LEASE          the file: `<boot id>:<milliseconds>` twice, so that half a write is no word at all
  CB_FENCE_AFTER_S  silence after which the training saves and stops
  CB_FENCE_GRACE_S  how much later the process is ended
"""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

EVERY_S = 1.0
LEASE_BYTES = 512


def clock_s() -> float:
    """Seconds since the machine's start, those while it slept as well; the agent's clock is the same one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def lease_read(path: Path) -> float | None:
    """When the newest heard heartbeat was sent; None when the file does not tell."""
    try:
        with path.open("rb") as file:
            words = file.read(LEASE_BYTES).split()
        first, second = words
        sent_s = int(first.rpartition(b":")[2]) / 1000
    except (OSError, ValueError):
        return None
    return sent_s if first == second else None


class Fence:
    """stop() is called once after ``after_s`` of silence, end() ``grace_s`` later; both in a thread of its own."""

    def __init__(
        self,
        path: Path,
        *,
        after_s: float,
        grace_s: float,
        stop: Callable[[], None],
        end: Callable[[], None],
        clock: Callable[[], float] = clock_s,
    ) -> None:
        self._path = path
        self._after_s = after_s
        self._grace_s = grace_s
        self._stop = stop
        self._end = end
        self._clock = clock
        self._has_told = False
        self._sent_s = clock()  # until the file tells

    def start(self) -> None:
        threading.Thread(target=self._run, name="fence", daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Whether the silence has been too long."""
        return self._silent_s() >= self._after_s

    def look(self) -> None:
        """Read the file and do what is due."""
        silent_s = self._silent_s()
        if silent_s >= self._after_s + self._grace_s:
            self._end()
        elif silent_s >= self._after_s and not self._has_told:
            self._has_told = True
            self._stop()

    def _silent_s(self) -> float:
        now, sent_s = self._clock(), lease_read(self._path)
        if sent_s is not None and sent_s <= now:
            self._sent_s = sent_s
        return now - self._sent_s

    def _run(self) -> None:
        while True:
            self.look()
            time.sleep(EVERY_S)


def fence_make(
    environ: Mapping[str, str], *, stop: Callable[[], None], end: Callable[[], None]
) -> Fence | None:
    """The fence that the environment asks for."""
    path = environ.get("CB_LEASE")
    if not path:
        return None
    return Fence(
        Path(path),
        after_s=float(environ["CB_FENCE_AFTER_S"]),
        grace_s=float(environ["CB_FENCE_GRACE_S"]),
        stop=stop,
        end=end,
    )
