"""Reads of samples: what a node, and a job's share of it, used at a moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import OuterRef, Subquery
from django.utils import timezone

from loraforge.instances.models import Attempt, Instance
from loraforge.nodes.models import Node
from loraforge.telemetry.models import Sample
from nodeagent.contract import reports

SAMPLE_FRESH_S = 30


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a node used at a moment. attempts: those that it speaks of and that the node was given."""

    node: Node
    at: datetime
    sample: reports.Sample
    attempts: Sequence[Attempt]


def sample_of_node(*, node: str, at: datetime, values: dict[str, Any]) -> dict[str, Any]:
    """A row of a gpu frame for everybody: the machine and its cards, not whose jobs run there."""
    return {"node": node, "at": at.isoformat(), "host": values["host"], "gpus": values["gpus"]}


def sample_of_attempt(
    *, attempt: Attempt, node: str, at: datetime, values: dict[str, Any]
) -> dict[str, Any]:
    """A row of a gpu frame for one job on that node: its own cards, and what its processes use."""
    mine = [
        job for job in values["jobs"]
        if (job["instance"], job["attempt"]) == (attempt.instance_id, attempt.number)
    ]  # fmt: skip
    row = sample_of_node(node=node, at=at, values=values)
    row["gpus"] = [gpu for gpu in values["gpus"] if gpu["uuid"] in attempt.devices]
    return {**row, "attempt": attempt.number, "job": mine[0] if mine else None}


def sample_list(
    *, instance: Instance, since: datetime | None = None, limit: int = 300
) -> list[dict[str, Any]]:
    """Readings while the current attempt ran, oldest first, the newest ``limit`` of them."""
    attempt = (
        Attempt.objects.filter(instance=instance, number=instance.attempt)
        .select_related("node")
        .first()
    )
    if attempt is None:
        return []
    rows = Sample.objects.filter(
        node=attempt.node, at__gte=max(attempt.assigned_at, since or attempt.assigned_at)
    )
    if attempt.ended_at is not None:
        rows = rows.filter(at__lte=attempt.ended_at)
    newest = list(rows.order_by("-at").values_list("at", "values")[:limit])
    return [
        sample_of_attempt(attempt=attempt, node=attempt.node.name, at=at, values=values)
        for at, values in reversed(newest)
    ]


def sample_latest(*, nodes: Sequence[Node]) -> list[dict[str, Any]]:
    """The newest reading of each node that has a fresh one, in one query."""
    fresh = timezone.now() - timedelta(seconds=SAMPLE_FRESH_S)
    newest = (
        Sample.objects.filter(node=OuterRef("node"), at__gte=fresh).order_by("-at").values("pk")[:1]
    )
    rows = Sample.objects.filter(node__in=nodes, at__gte=fresh, pk=Subquery(newest)).select_related(
        "node"
    )
    return [sample_of_node(node=row.node.name, at=row.at, values=row.values) for row in rows]


def gpu_utilization(*, attempt: Attempt | None) -> float | None:
    """Mean utilisation of the attempt's cards in the newest reading, percent; None when nobody knows."""
    if attempt is None or attempt.ended_at is not None or not attempt.devices:
        return None
    fresh = timezone.now() - timedelta(seconds=SAMPLE_FRESH_S)
    row = Sample.objects.filter(node_id=attempt.node_id, at__gte=fresh).order_by("-at").first()
    gpus = row.values["gpus"] if row is not None else []
    known = [
        gpu["utilization_percent"] for gpu in gpus
        if gpu["uuid"] in attempt.devices and gpu["utilization_percent"] is not None
    ]  # fmt: skip
    return round(sum(known) / len(known), 1) if known else None
