"""Hints of one kind that come faster than they can be answered: one more answer does for all of them."""

import threading
from collections.abc import Callable


class Gathered:
    """What `hint` does, for all threads of this process: ``work``, by one thread at a time.

    A hint that comes meanwhile returns at once, since what caused it may have been too late for the answer
    under way; ``again`` then asks for one more hint, however many came. A hint that is lost with the process
    costs time only, as any other does.
    """

    def __init__(self, *, work: Callable[[], object], again: Callable[[], object]) -> None:
        self._work = work
        self._again = again
        self._lock = threading.Lock()
        self._is_busy = False
        self._has_more = False

    def hint(self) -> None:
        """Raises what ``work`` raises."""
        with self._lock:
            if self._is_busy:
                self._has_more = True
                return
            self._is_busy, self._has_more = True, False
        try:
            self._work()
        finally:
            with self._lock:
                self._is_busy = False
                has_more = self._has_more
        if has_more:
            self._again()
