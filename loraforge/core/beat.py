"""Periodic hints: each enqueues a control task. Two beats only send a hint twice, which does no harm."""

import heapq
import itertools
import logging
import threading
import time
from dataclasses import dataclass

import redis
from kombu.exceptions import OperationalError as BrokerError

from loraforge.core import pulse
from loraforge.core.celery import app

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hint:
    """Enqueue the control task called ``task`` every ``every_s`` seconds."""

    task: str
    every_s: float


_hints: dict[str, Hint] = {}


def every(every_s: float, task: str) -> None:
    """Have ``task`` enqueued periodically; called by each app's AppConfig.ready()."""
    _hints[task] = Hint(task=task, every_s=every_s)


def hints() -> list[Hint]:
    """All that is periodic, by name."""
    return [_hints[name] for name in sorted(_hints)]


class Beat:
    """One thread's work: `run` until ``stopping`` is set."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._down = False

    def run(self) -> None:
        """Each hint at once, then at its pace. What was due while Redis was away is not made up for."""
        order = itertools.count()
        now = time.monotonic()
        due = [(now, next(order), hint) for hint in hints()]
        heapq.heapify(due)
        while due and not self._stopping.is_set():
            pulse.turn("beat")
            at, _place, hint = due[0]
            if self._stopping.wait(max(0.0, at - time.monotonic())):
                return
            self._send(hint)
            heapq.heapreplace(due, (time.monotonic() + hint.every_s, next(order), hint))
        self._stopping.wait()

    def _send(self, hint: Hint) -> None:
        try:
            # It expires when the next is due: a control worker that comes back finds one, not thousands.
            app.send_task(hint.task, queue="control", expires=max(hint.every_s, 5.0), retry=False)
        except (BrokerError, redis.RedisError, OSError) as error:
            if not self._down:
                log.warning("periodic work waits, Redis does not answer: %s", error)
            self._down = True
        else:
            self._down = False
