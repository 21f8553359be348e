"""Models fetched ahead into a node's cache, by operators; what came of it, heartbeats tell."""

import re
from collections.abc import Sequence
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core import audit, outbox
from loraforge.core.errors import Conflict, Invalid
from loraforge.core.texts import storable
from loraforge.migration.models import Prefetch
from loraforge.migration.services import staged_store
from loraforge.nodes.models import Node, NodeState
from nodeagent.contract.reports import Staged

PREFETCH_TASK = "gateway.prefetch_send"
ASK_AGAIN = timedelta(seconds=30)
GIVEN_UP = timedelta(days=1)  # a node that never comes back, or a hub that never answers
MAX_BYTES = 2**62
SHOWN = timedelta(days=2)
LISTED = 50
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}\Z", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w.-]{0,127}\Z", re.ASCII)


@transaction.atomic
def model_prefetch(*, actor: User, node: Node, hub: str, repo: str, revision: str = "") -> Prefetch:
    """Have a node fetch what everybody may have of a hub. Raises Invalid, Conflict when it is at it."""
    access.require(actor, Action.OPERATE)
    if hub not in Prefetch.Hub.values:
        text = _("Choose huggingface or modelscope.")
        raise Invalid("migration:bad_hub", text, fields={"hub": [text]})
    if not _REPO.match(repo):
        text = _("A model is written as organisation/name.")
        raise Invalid("migration:bad_model", text, fields={"model": [text]})
    if revision and not _REVISION.match(revision):
        text = _("This is no revision. Leave it empty for the newest.")
        raise Invalid("migration:bad_revision", text, fields={"revision": [text]})
    if node.state not in {NodeState.ONLINE, NodeState.SUSPECT}:
        text = _("%(name)s does not answer now. Try again once it is online.")
        raise Conflict("migration:node_away", text % {"name": node.name})
    try:
        with transaction.atomic():
            row = Prefetch.objects.create(
                node=node, hub=hub, repo=repo, revision=revision, actor=actor
            )
    except IntegrityError as error:
        text = _("%(name)s is fetching this model already.") % {"name": node.name}
        raise Conflict("migration:prefetch_under_way", text) from error
    audit.record(
        actor=actor, target=node, what="migration:prefetch", changes={"model": [None, str(row)]}
    )
    prefetches_ask()
    return row


def prefetches_ask() -> int:
    """Tell nodes, again after a while: a message may be lost, an agent may have begun anew."""
    now = timezone.now()
    active = Prefetch.objects.filter(state=Prefetch.State.ACTIVE)
    active.filter(created_at__lt=now - GIVEN_UP).update(
        state=Prefetch.State.FAILED, error="migration:prefetch_late", ended_at=now
    )
    due = active.filter(node__state=NodeState.ONLINE).filter(
        Q(asked_at=None) | Q(asked_at__lt=now - ASK_AGAIN)
    )
    ids = list(due.values_list("pk", flat=True))
    for pk in ids:
        outbox.task_enqueue(PREFETCH_TASK, prefetch_id=pk)
    Prefetch.objects.filter(pk__in=ids).update(asked_at=now)
    return len(ids)


def prefetches_shown(*, node: Node) -> list[Prefetch]:
    """What is under way, and what has failed lately and was not asked for again; the newest first."""
    rows = list(Prefetch.objects.filter(node=node, created_at__gt=timezone.now() - SHOWN)[:LISTED])
    newest: dict[tuple[str, str, str], Prefetch] = {}
    for row in rows:
        newest.setdefault((row.hub, row.repo, row.revision), row)
    return [row for row in newest.values() if row.state != Prefetch.State.DONE]


def staged_take(*, node: Node, staged: Sequence[Staged]) -> None:
    """Take over from a heartbeat how far a node is with all that it was told to have beforehand."""
    staged_store(node=node, staged=staged)
    told = {one.id: one for one in staged if one.id.startswith("stage-p")}
    if not told:
        return
    for row in Prefetch.objects.filter(node=node, state=Prefetch.State.ACTIVE):
        one = told.get(row.stage_id)
        if one is not None:
            _take(row, one)


def _take(row: Prefetch, one: Staged) -> None:
    is_over = bool(one.digest or one.error)
    changes = {
        "done_bytes": min(max(one.done_bytes, 0), MAX_BYTES),
        "total_bytes": min(max(one.total_bytes, 0), MAX_BYTES),
        "error": storable(one.error, length=60),
        "detail": storable(one.detail),
    }
    if all(getattr(row, name) == value for name, value in changes.items()) and not is_over:
        return
    if is_over:
        state = Prefetch.State.FAILED if one.error else Prefetch.State.DONE
        changes |= {"state": state, "ended_at": timezone.now()}
    Prefetch.objects.filter(pk=row.pk, state=Prefetch.State.ACTIVE).update(**changes)
