"""What pages say of a job that moves and of a node that is emptied."""

from dataclasses import dataclass
from typing import Any

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.dashboard.explain import reason_words
from loraforge.instances.models import Instance
from loraforge.migration.models import STEP_LABELS, Prefetch
from loraforge.migration.prefetching import prefetches_shown
from loraforge.migration.selectors import drain_open, jobs_left, migration_shown
from loraforge.migration.states import MAY_CANCEL, ORDER, Ending, Step, number_of
from loraforge.nodes.models import Node


@dataclass(frozen=True)
class ShownStep:
    """One of the eight; look: done, now or later."""

    label: str
    look: str


def migration_context(*, user: User, instance: Instance) -> dict[str, Any]:
    """Of an instance that the user may see."""
    found = migration_shown(instance=instance)
    if found is None:
        return {"instance": instance, "migration": None}
    is_active = found.state == Ending.ACTIVE
    at = number_of(found.step)
    steps = [
        ShownStep(
            label=str(STEP_LABELS[step]),
            look="done" if number < at else "now" if number == at else "later",
        )
        for number, step in enumerate(ORDER, start=1)
    ]
    return {
        "instance": instance,
        "migration": found,
        "migration_active": is_active,
        "migration_steps": steps,
        "migration_copies": is_active and found.step in {Step.COPY, Step.SWITCH},
        "migration_why": reason_words(found.error) or found.error,
        "may_call_off": is_active
        and Step(found.step) in MAY_CANCEL
        and access.allowed(user, Action.CHANGE, instance),
    }


def drain_context(*, node: Node) -> dict[str, Any]:
    """Whether the node is being emptied, and how many jobs are left."""
    drain = drain_open(node=node)
    return {"drain": drain, "drain_left": jobs_left(node=node) if drain is not None else 0}


@dataclass(frozen=True)
class ShownModel:
    """One in a node's cache."""

    hub: str
    name: str
    revision: str


def models_context(*, node: Node) -> dict[str, Any]:
    """What of model hubs lies in the node's cache, and what is being fetched into it or could not be."""
    hubs = dict(Prefetch.Hub.choices)
    models = []
    for told in node.cached_models:
        hub, _colon, rest = told.partition(":")
        name, _at, revision = rest.rpartition("@")
        models.append(ShownModel(hub=str(hubs.get(hub, hub)), name=name, revision=revision[:12]))
    return {"models": models, "prefetches": prefetches_shown(node=node)}
