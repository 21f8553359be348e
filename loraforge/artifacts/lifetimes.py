"""Reads of how long files stay: what a page or an answer says of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Exists, Max, OuterRef, Subquery, Sum
from django.utils import timezone

from loraforge.artifacts import retention
from loraforge.artifacts.models import OutputFile, Removal, RemovalNotice
from loraforge.artifacts.retention import Facts, Place, Rule
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.states import State


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What becomes of an instance's files. output_bytes: what they have now, by the manifests.

    removal_at: when they go by themselves, None = never as it stands. removed_at: they went then, all of
    them. is_near: worth saying at first sight.
    """

    output_bytes: int
    removal_at: datetime | None
    removed_at: datetime | None
    is_near: bool


def rule_of(place: Place) -> Rule:
    """The retention time of a class of files, by settings."""
    days = {Place.NODE: settings.RETENTION_DAYS}[place]
    return Rule(kept_for=timedelta(days=days) if days > 0 else None)


def retention_get(*, instance: Instance, now: datetime | None = None) -> Retention:
    """For a page or an answer about an instance that the caller already may see; one query."""
    now = now or timezone.now()
    found = _retention_values(instance)
    facts = Facts(
        state=State(instance.state),
        keep=instance.keep,
        ended_at=instance.ended_at,
        told_at=found["told_at"],
    )
    planned = None
    if found["has_left"]:
        planned = retention.removal_at(facts, rule_of(Place.NODE), now=now)
    return Retention(
        output_bytes=found["output_bytes"] or 0,
        removal_at=planned,
        removed_at=None if found["has_left"] else found["removed_at"],
        is_near=planned is not None and retention.is_near(facts, rule_of(Place.NODE), now=now),
    )


def _retention_values(instance: Instance) -> dict[str, Any]:
    this = {"attempt__instance": OuterRef("pk")}
    gone = Removal.objects.filter(attempt=OuterRef("pk"), place=Place.NODE)
    listed = OutputFile.objects.filter(**this, removed_at=None).order_by()
    removals = Removal.objects.filter(**this, place=Place.NODE).order_by()
    told = RemovalNotice.objects.filter(instance=OuterRef("pk"), ended_at=OuterRef("ended_at"))
    found: Any = (
        Instance.objects.filter(pk=instance.pk)
        .annotate(
            output_bytes=Subquery(
                listed.values("attempt__instance").annotate(n=Sum("size_bytes")).values("n")
            ),
            has_left=Exists(Attempt.objects.filter(~Exists(gone), instance=OuterRef("pk"))),
            removed_at=Subquery(
                removals.values("attempt__instance").annotate(at=Max("begun_at")).values("at")
            ),
            told_at=Subquery(told.values("told_at")[:1]),
        )
        .values("output_bytes", "has_left", "removed_at", "told_at")
        .get()
    )
    values: dict[str, Any] = found
    return values
