"""Reads of what the rate caps left out of logs."""

from django.db.models import Max, Sum

from loraforge.instances.models import Attempt, Instance
from loraforge.telemetry.models import LogGap, StreamPosition


def gap_list(*, attempt: Attempt) -> list[LogGap]:
    """What was left out of its log, in order."""
    return list(LogGap.objects.filter(attempt=attempt).order_by("start"))


def gap_end_before(*, attempt: Attempt, position: int) -> int:
    """Where what is stored without a gap up to ``position`` begins."""
    gaps = LogGap.objects.filter(attempt=attempt, end__lte=position)
    return gaps.aggregate(at=Max("end"))["at"] or 0


def log_left_out(*, instance: Instance) -> int:
    """How many lines of its log were left out by the rate caps, over all attempts."""
    rows = StreamPosition.objects.filter(attempt__instance=instance, stream="log")
    return rows.aggregate(n=Sum("left_out_lines"))["n"] or 0
