from typing import Literal

from loraforge.core.celery import control_task
from loraforge.core.redis import connection
from loraforge.gateway import starting
from loraforge.gateway.acks import acks_trim
from loraforge.gateway.dispatch import (
    checkpoint_send,
    discard_send,
    prefetch_send,
    remove_send,
    stage_send,
    stop_send,
)
from loraforge.gateway.reconcile import lost_review
from loraforge.nodes.silence import nodes_review


@control_task("gateway.start_send")
def start_send_task(*, instance_id: int, attempt: int) -> None:
    """Have a node start an attempt, if that is still wanted."""
    starting.attempt_start(instance_id=instance_id, attempt=attempt)


@control_task("gateway.stop_send")
def stop_send_task(
    *, instance_id: int, attempt: int, mode: Literal["save", "now"] = "save"
) -> None:
    """Have a node end an attempt."""
    stop_send(instance_id=instance_id, attempt=attempt, mode=mode)


@control_task("gateway.checkpoint_send")
def checkpoint_send_task(*, instance_id: int, attempt: int, request: str) -> None:
    """Have a trainer save and go on."""
    checkpoint_send(instance_id=instance_id, attempt=attempt, request=request)


@control_task("gateway.remove_send")
def remove_send_task(*, instance_id: int, attempt: int, tries: int = 0) -> None:
    """Have a node delete an instance's files."""
    remove_send(instance_id=instance_id, attempt=attempt, tries=tries)


@control_task("gateway.discard_send")
def discard_send_task(*, node_id: int, hashes: list[str]) -> None:
    """Have a node let go of deleted datasets."""
    discard_send(node_id=node_id, hashes=hashes)


@control_task("gateway.prefetch_send")
def prefetch_send_task(*, prefetch_id: int) -> None:
    """Have a node fetch a model into its cache."""
    prefetch_send(prefetch_id=prefetch_id)


@control_task("gateway.stage_send")
def stage_send_task(*, migration_id: int) -> None:
    """Have the target of a move fetch what it will need."""
    stage_send(migration_id=migration_id)


@control_task("gateway.nodes_review")
def nodes_review_task() -> None:
    """Give silent nodes the state that their silence means, and replace what lost ones ended themselves."""
    nodes_review()
    lost_review()


@control_task("gateway.acks_trim")
def acks_trim_task() -> None:
    """Take old acknowledgements away."""
    acks_trim(connection())
