"""After the end of an attempt: its log in fewer, larger rows."""

from collections.abc import Sequence

from django.db import transaction

from loraforge.instances.models import Attempt
from loraforge.telemetry.models import LogChunk
from loraforge.telemetry.services import ROW_BYTES


def log_compact(*, attempt: Attempt) -> int:
    """Merge an ended attempt's log into rows of about ROW_BYTES; returns how many rows went.

    Each merge is a transaction of its own, a row grows in place, and readers go by position: whenever
    it stops, the log reads the same, and doing it again changes nothing.
    """
    gone = 0
    run: list[tuple[int, int, int]] = []
    rows = (
        LogChunk.objects.filter(attempt=attempt).order_by("start").values_list("pk", "start", "end")
    )
    for pk, start, end in list(rows):
        if run and (start != run[-1][2] or end - run[0][1] > ROW_BYTES):
            gone += _merge(run)
            run = []
        run.append((pk, start, end))
    return gone + _merge(run)


def _merge(run: Sequence[tuple[int, int, int]]) -> int:
    if len(run) < 2:  # noqa: PLR2004
        return 0
    pks = [pk for pk, _start, _end in run]
    with transaction.atomic():
        rows = list(LogChunk.objects.select_for_update().filter(pk__in=pks).order_by("start"))
        if [(row.pk, row.start, row.end) for row in rows] != list(run):
            return 0  # another one merges here
        first, *others = rows
        first.data = b"".join(bytes(row.data) for row in rows)
        first.end, first.newlines = rows[-1].end, sum(row.newlines for row in rows)
        LogChunk.objects.filter(pk__in=[row.pk for row in others]).delete()
        first.save(update_fields=["data", "end", "newlines"])
    return len(others)
