"""Messages that leave only when the change that caused them is committed (design.md law 1)."""

from collections.abc import Iterable
from typing import Any

from django.db import connection

from loraforge.core.columns import planned_cursor
from loraforge.core.models import OutboxMessage

CONTROL_QUEUE = "control"
# PostgreSQL delivers it at the commit; on SQLite the relay sees the commit itself.
NOTIFY_CHANNEL = "lf_outbox"


def _notify() -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {NOTIFY_CHANNEL}")


def task_enqueue(name: str, *, queue: str = CONTROL_QUEUE, **kwargs: Any) -> None:
    """Have the Celery task called ``name`` run once this transaction is committed. A hint: it may come twice."""
    OutboxMessage.objects.create(
        kind=OutboxMessage.Kind.TASK, target=name, queue=queue, payload=kwargs
    )
    _notify()


def frame_enqueue(topic: str, frame: dict[str, Any]) -> None:
    """Have a live frame published once this transaction is committed."""
    frames_enqueue([(topic, frame)])


def frames_enqueue(frames: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Likewise for many, (topic, frame) each, in their order; one INSERT, planned once."""
    payload: Any = OutboxMessage._meta.get_field("payload")
    rows = [(topic, payload.get_db_prep_save(frame, connection)) for topic, frame in frames]
    if not rows:
        return
    with planned_cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {OutboxMessage._meta.db_table} (kind, target, queue, payload)"  # noqa: S608 - a constant
            f" VALUES ('{OutboxMessage.Kind.FRAME}', %s, '', %s)",
            rows,
        )
    _notify()
