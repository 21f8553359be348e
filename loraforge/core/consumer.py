"""How the control worker bears a Redis that answers, but refuses."""

import time
from typing import Any

from celery.worker.consumer import Consumer

REFUSED_PAUSE_S = 1.0


class PatientConsumer(Consumer):
    """Connects again after a refusal (MISCONF: the disk of Redis is full), at a pace that the log can bear.

    With `broker_channel_error_retry`; without it Celery calls the refusal unrecoverable and ends.
    """

    def on_connection_error_after_connected(self, exc: Exception) -> Any:
        super().on_connection_error_after_connected(exc)
        consumer: Any = self
        if not isinstance(exc, consumer.connection_errors):
            time.sleep(REFUSED_PAUSE_S)
