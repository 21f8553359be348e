"""Reads of migrations and drains, and where a job could go."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core.errors import Conflict
from loraforge.instances.models import Instance
from loraforge.instances.states import ACTIVE
from loraforge.migration.models import Drain, Migration
from loraforge.migration.states import Ending
from loraforge.nodes.models import Node
from loraforge.scheduling.facts import Caps, Place, Placed, Situation
from loraforge.scheduling.policy import decide
from loraforge.scheduling.reasons import reason_text
from loraforge.scheduling.selectors import places_now
from loraforge.scheduling.waiting import as_waiting, want_of


def migration_list(*, user: User, instance: Instance) -> QuerySet[Migration]:
    """All moves of an instance, newest first. Raises NotFound."""
    access.require(user, Action.VIEW, instance)
    return Migration.objects.filter(instance=instance).select_related("source", "target", "actor")


def migration_active(*, instance: Instance) -> Migration | None:
    """The move that goes on, of an instance that the caller already may see."""
    rows = Migration.objects.filter(instance=instance, state=Ending.ACTIVE)
    return rows.select_related("source", "target").first()


def migration_shown(*, instance: Instance) -> Migration | None:
    """The move to tell of on the job's page: the one that goes on, or has failed last."""
    newest = Migration.objects.filter(instance=instance).select_related("source", "target").first()
    if newest is None or newest.state in {Ending.ACTIVE, Ending.FAILED}:
        return newest
    return None


def drain_open(*, node: Node) -> Drain | None:
    """The drain of this node that goes on."""
    return Drain.objects.filter(node=node, ended_at=None).first()


def jobs_left(*, node: Node) -> int:
    """How many instances are on it, or on their way from or to it."""
    active = Instance.objects.filter(node=node, state__in=[str(state) for state in ACTIVE]).count()
    moves = Migration.objects.filter(state=Ending.ACTIVE)
    return max(active, moves.filter(source=node).count() + moves.filter(target=node).count())


def target_choose(*, instance: Instance, source: Node, wanted: Node | None) -> Placed:
    """The node and devices that would take it now, as the scheduling policy places a job.

    wanted: this node or none; it has GPUs as the source has, or none as the source. Raises Conflict with the
    reason for which nobody takes it.
    """
    now = timezone.now()
    (row,) = as_waiting(Instance.objects.filter(pk=instance.pk))
    want = replace(
        want_of(row), node=wanted.pk if wanted is not None else None, devices=(), avoids={}
    )
    places = _others_alike(places_now(now=now), source=source, wanted=wanted)
    # It runs already: neither a cap nor a budget nor the queue stands in its way.
    situation = Situation(
        now=now,
        wants=(want,),
        places=places,
        running=(),
        caps=Caps(total=1, per_owner=1),
        lead=timedelta(seconds=settings.RESERVATION_LEAD_S),
    )
    decision = decide(situation)
    if decision.placed:
        return decision.placed[0]
    wait = decision.waits[0]
    text = _("No other node can take it now. %(reason)s")
    said = reason_text(reason=wait.reason, detail=wait.detail)
    raise Conflict("migration:no_target", text % {"reason": said}, fields={"node": [said]})


def _others_alike(
    places: Iterable[Place], *, source: Node, wanted: Node | None
) -> tuple[Place, ...]:
    """Nodes with the kind of devices that it runs on: its optimiser's state and its speed are of that kind."""
    known = {place.id: place for place in places}
    has_gpu = source.pk in known and known[source.pk].has_gpu
    if wanted is not None and wanted.pk in known and known[wanted.pk].has_gpu != has_gpu:
        text = _("%(name)s has no GPU, and this job runs on one. Choose a node with GPUs.")
        if not has_gpu:
            text = _(
                "This job runs on CPU slots, and %(name)s has none. Choose a node with CPU slots."
            )
        said = text % {"name": wanted.name}
        raise Conflict("migration:other_devices", said, fields={"node": [said]})
    return tuple(
        place for place in known.values() if place.id != source.pk and place.has_gpu == has_gpu
    )
