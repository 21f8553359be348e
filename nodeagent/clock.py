"""The time as it was when the node joined, carried on by a clock that nobody sets."""

import time

# Goes on while the machine sleeps, where there is such a clock.
_RUNNING = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class AgreedClock:
    """Made right after joining, which has compared the machine's clock with the control plane's.

    Whoever sets the machine's clock later changes nothing here.
    """

    def __init__(self) -> None:
        self._began = time.time() - time.clock_gettime(_RUNNING)

    def now(self) -> float:
        """Seconds since 1970 UTC."""
        return self._began + time.clock_gettime(_RUNNING)
