"""Waiting out what is away: one word in the log when it goes, one when it comes back, longer pauses between."""

import logging
import threading

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0


class Outage:
    """The patience of one loop that must go on for ever.

    log: where it is said. resumed: the sentence for when it works again. stopping: ends a pause early.
    """

    def __init__(self, *, log: logging.Logger, resumed: str, stopping: threading.Event) -> None:
        self._log = log
        self._resumed = resumed
        self._stopping = stopping
        self._down = False
        self._pause_s = FIRST_PAUSE_S

    def wait(self, what: str, error: Exception) -> None:
        """It failed: say so the first time, then pause."""
        if not self._down:
            self._log.warning("%s: %s", what, error)
        self._down = True
        self._stopping.wait(self._pause_s)
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)

    def over(self) -> None:
        """It worked."""
        if self._down:
            self._log.info(self._resumed)
        self._down, self._pause_s = False, FIRST_PAUSE_S
