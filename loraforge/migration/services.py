"""Writes that people ask for: move a job, call a move off. The saga does the rest."""

from collections.abc import Sequence

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core import audit, outbox
from loraforge.core.errors import Conflict, Invalid
from loraforge.core.texts import storable
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.states import State
from loraforge.migration.models import Drain, Migration
from loraforge.migration.selectors import migration_active, target_choose
from loraforge.migration.states import MAY_CANCEL, Ending, Step
from loraforge.nodes.models import Node
from loraforge.training.models import Job
from loraforge.training.modules import is_training
from nodeagent.contract.reports import Staged

STEP_TASK = "migration.step"
DIGEST_LENGTH = 64
MAX_BYTES = 2**62


@transaction.atomic
def job_migrate(
    *, actor: User | None, job: Job, node: Node | None = None, drain: Drain | None = None
) -> Migration:
    """Begin to move a running job to this node, None = the one that fits best.

    actor None = the platform itself, for a drain. Raises Conflict when it does not run, moves already, or
    nobody takes it; Invalid for the node that it is on.
    """
    if actor is not None:
        access.require(actor, Action.CHANGE, job)
    instance = Instance.objects.select_for_update().get(pk=job.pk)
    attempt = Attempt.objects.filter(instance=instance, number=instance.attempt).first()
    if instance.state != State.RUNNING or instance.deleted_at is not None or attempt is None:
        text = _(
            "Only a running job can be moved. Wait until it runs; a stopped one can be resumed."
        )
        raise Conflict("migration:not_running", text)
    if not is_training(job.command):
        text = _(
            "Only a training has checkpoints to go on from elsewhere. Let this job end, or stop it."
        )
        raise Conflict("migration:no_checkpoints", text)
    source = Node.objects.get(pk=attempt.node_id)
    if node is not None and node.pk == source.pk:
        text = _("It runs on %(node)s already. Choose another node.") % {"node": node.name}
        raise Invalid("migration:same_node", text, fields={"node": [text]})
    placed = target_choose(instance=instance, source=source, wanted=node)
    try:
        with transaction.atomic():
            migration = Migration.objects.create(
                instance=instance,
                step_at=timezone.now(),
                source=source,
                source_attempt=attempt.number,
                source_devices=list(attempt.devices),
                target_id=placed.node,
                is_best=node is None,
                from_step=instance.step,
                actor=actor,
                drain=drain,
            )
    except IntegrityError as error:
        text = _("It is being moved already. Wait until that has ended.")
        raise Conflict("migration:under_way", text) from error
    audit.record(
        actor=actor,
        target=instance,
        what="migration:begin",
        changes={"node": [source.name, Node.objects.get(pk=placed.node).name]},
    )
    outbox.task_enqueue(STEP_TASK, migration_id=migration.pk)
    return migration


@transaction.atomic
def migration_cancel(*, actor: User, job: Job) -> Migration:
    """Call the move off; the training goes on where it is. Raises Conflict once it is being stopped there."""
    access.require(actor, Action.CHANGE, job)
    found = migration_active(instance=job.instance)
    row = None
    if found is not None:
        row = Migration.objects.select_for_update().get(pk=found.pk)
    if row is None or row.state != Ending.ACTIVE or Step(row.step) not in MAY_CANCEL:
        text = _("It cannot be called off any more, or there is no move. Reload the page.")
        raise Conflict("migration:not_cancellable", text)
    Migration.objects.filter(pk=row.pk).update(error="migration:called_off")
    audit.record(actor=actor, target=job.instance, what="migration:call_off")
    outbox.task_enqueue(STEP_TASK, migration_id=row.pk)
    row.refresh_from_db()
    return row


def staged_store(*, node: Node, staged: Sequence[Staged]) -> None:
    """Take over from a heartbeat how far a node is with what it was told to have beforehand."""
    told = {one.id: one for one in staged if one.id.startswith("stage-m")}
    if not told:
        return
    for row in Migration.objects.filter(target=node, state=Ending.ACTIVE):
        one = told.get(row.staged_id)
        if one is not None:
            _staged_take(row, one)


def _staged_take(row: Migration, one: Staged) -> None:
    done = min(max(one.done_bytes, 0), MAX_BYTES)
    error, detail = storable(one.error, length=60), storable(one.detail)
    known = (row.copied_bytes, row.staged_digest, row.staged_error)
    digest = one.digest if len(one.digest) <= DIGEST_LENGTH else ""
    if known == (done, digest, error):
        return
    is_further = done > row.copied_bytes or digest != row.staged_digest
    # Only while it still is about this checkpoint: the saga may just have gone on to another.
    Migration.objects.filter(
        pk=row.pk, checkpoint_attempt=row.checkpoint_attempt, checkpoint_step=row.checkpoint_step
    ).update(
        copied_bytes=done,
        staged_digest=digest,
        staged_error=error,
        staged_detail=detail,
        staged_at=timezone.now() if is_further else row.staged_at,
    )
    if digest:
        outbox.task_enqueue(STEP_TASK, migration_id=row.pk)
