"""Nodes by their silence: what each counts as, while the platform itself listens."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from loraforge.core.models import Setting
from loraforge.nodes import health
from loraforge.nodes.models import Node, NodeState
from loraforge.nodes.services import state_tell

_HEARING = "nodes.hearing"
_HEARING_BREAK_S = 15.0


def hearing_touch(*, now: datetime | None = None) -> None:
    """Ingest reads heartbeats now. A break in this is our silence, not the nodes'."""
    now = now or timezone.now()
    heard = _hearing()
    broken = heard is None or (now - heard.until).total_seconds() > _HEARING_BREAK_S
    since = now if heard is None or broken else heard.since
    Setting.objects.update_or_create(
        name=_HEARING, defaults={"value": f"{since.isoformat()} {now.isoformat()}"}
    )


def _hearing() -> health.Hearing | None:
    value = Setting.objects.filter(name=_HEARING).values_list("value", flat=True).first()
    since, _blank, until = (value or "").partition(" ")
    begin, end = parse_datetime(since), parse_datetime(until)
    return health.Hearing(since=begin, until=end) if begin and end else None


def nodes_review(*, now: datetime | None = None) -> list[Node]:
    """Give silent nodes the state that their silence means; returns those that changed.

    Nobody is judged while the control plane itself is deaf, nor in the grace after it was.
    """
    now = now or timezone.now()
    heard = _hearing()
    if heard is None or (now - heard.until).total_seconds() > _HEARING_BREAK_S:
        return []
    limits = health.Limits(
        suspect_s=settings.NODE_SUSPECT_S,
        offline_s=settings.NODE_OFFLINE_S,
        lost_s=settings.NODE_LOST_S,
    )
    watched = Node.objects.filter(
        state__in=health.WATCHED, seen_at__lt=now - timedelta(seconds=limits.suspect_s)
    )
    if (now - heard.since).total_seconds() < settings.RESTART_GRACE_S:
        watched = watched.filter(
            seen_at__gte=heard.since
        )  # the others may only not have been heard
    return [node for node in watched if _worsen(node=node, now=now, limits=limits)]


@transaction.atomic
def _worsen(*, node: Node, now: datetime, limits: health.Limits) -> bool:
    if node.seen_at is None:
        return False
    before = NodeState(node.state)
    state = health.state_by_silence(silence_s=(now - node.seen_at).total_seconds(), limits=limits)
    if not health.is_worse(state, before):
        return False
    if not Node.objects.filter(pk=node.pk, state=before, seen_at=node.seen_at).update(state=state):
        return False  # heard meanwhile
    node.refresh_from_db()
    state_tell(node=node, before=before)
    return True
