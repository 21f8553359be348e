"""Emptying a node: it takes nothing new, its jobs move or end, then it is in maintenance until a person says."""

from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core import audit, events, outbox
from loraforge.core.errors import Conflict, Invalid
from loraforge.instances.models import DeviceLease, Instance
from loraforge.instances.services import instance_stop
from loraforge.instances.states import ACTIVE, STOPPABLE, State
from loraforge.migration.models import Drain, Migration
from loraforge.migration.services import job_migrate
from loraforge.migration.states import DrainMode, Ending
from loraforge.nodes.models import Node, NodeState
from loraforge.nodes.services import node_cordon, node_maintain
from loraforge.training.models import Job

DRAIN_TASK = "migration.drain"
DEADLINE = "migration:drain_deadline"  # why the platform stops a job
TRIES = 3  # moves of one job in one drain
AGAIN = timedelta(seconds=60)
HOURS_MAX = 24 * 30


@transaction.atomic
def node_drain(*, actor: User, node: Node, mode: str, deadline_s: int | None = None) -> Drain:
    """Begin to empty a node. deadline_s: what runs then is stopped with a checkpoint; None = never.

    Raises Invalid for another mode or deadline, Conflict when it is being drained already.
    """
    access.require(actor, Action.OPERATE)
    if mode not in set(DrainMode):
        text = _("Choose migrate or wait.")
        raise Invalid("migration:bad_mode", text, fields={"mode": [text]})
    if deadline_s is not None and not 0 < deadline_s <= HOURS_MAX * 3600:
        text = _("The deadline is 1 second to %(days)s days from now.") % {"days": HOURS_MAX // 24}
        raise Invalid("migration:bad_deadline", text, fields={"deadline_s": [text]})
    if node.state == NodeState.NEW:
        text = _("%(name)s has not joined yet; there is nothing to empty.") % {"name": node.name}
        raise Conflict("migration:not_joined", text)
    until = None if deadline_s is None else timezone.now() + timedelta(seconds=deadline_s)
    node_cordon(actor=actor, node=node)
    try:
        with transaction.atomic():
            drain = Drain.objects.create(node=node, mode=mode, deadline_at=until, actor=actor)
    except IntegrityError as error:
        text = _("%(name)s is being emptied already.") % {"name": node.name}
        raise Conflict("migration:drain_under_way", text) from error
    audit.record(
        actor=actor,
        target=node,
        what="migration:drain",
        changes={"mode": [None, mode], "deadline_at": [None, until and until.isoformat()]},
    )
    outbox.task_enqueue(DRAIN_TASK, drain_id=drain.pk)
    return drain


def node_brought_back(*, node: Node) -> None:
    """Subscriber of events.NODE_BROUGHT_BACK: a person ends the drain; moves under way go on."""
    open_ones = Drain.objects.filter(node=node, ended_at=None)
    open_ones.update(ended_at=timezone.now())


@transaction.atomic
def drain_step(*, drain_id: int, now: datetime | None = None) -> bool:
    """Look at one drain: begin moves, stop what is over the deadline, end it. True when it has ended."""
    now = now or timezone.now()
    rows = Drain.objects.select_for_update(of=("self",)).select_related("node")
    drain = rows.filter(pk=drain_id, ended_at=None).first()
    if drain is None:
        return False
    active = Instance.objects.filter(
        node=drain.node, state__in=[str(state) for state in ACTIVE], deleted_at=None
    )
    is_late = drain.deadline_at is not None and now >= drain.deadline_at
    for instance in active.order_by("pk"):
        if is_late:
            _stop(instance)
        elif drain.mode == DrainMode.MIGRATE and instance.state == State.RUNNING:
            _move(drain, instance, now)
    leases = DeviceLease.objects.filter(node=drain.node, released_at=None)
    if active.exists() or leases.exists():
        return False
    Drain.objects.filter(pk=drain.pk).update(ended_at=now, is_done=True)
    drain.refresh_from_db()
    node_maintain(node=drain.node)
    events.emit(events.DRAIN_ENDED, drain=drain)
    return True


def _stop(instance: Instance) -> None:
    is_moving = Migration.objects.filter(instance=instance, state=Ending.ACTIVE).exists()
    if State(instance.state) in STOPPABLE and not is_moving:
        instance_stop(actor=None, instance=instance, mode="save", reason=DEADLINE)


def _move(drain: Drain, instance: Instance, now: datetime) -> None:
    moves = Migration.objects.filter(instance=instance)
    if moves.filter(state=Ending.ACTIVE).exists():
        return
    tried = moves.filter(drain=drain).exclude(state=Ending.DONE)
    if tried.count() >= TRIES or tried.filter(ended_at__gt=now - AGAIN).exists():
        return
    job = Job.objects.filter(pk=instance.pk).first()
    if job is None:
        return
    try:
        with transaction.atomic():
            job_migrate(actor=None, job=job, drain=drain)
    except Conflict:
        return  # nobody takes it now; the next look asks again
