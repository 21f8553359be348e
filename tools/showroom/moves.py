"""A node that is emptied, a job that moves away from it, and a move that came to nothing."""

from datetime import datetime, timedelta

from loraforge.accounts.models import User
from loraforge.instances.models import Instance
from loraforge.migration.models import Drain, Migration
from loraforge.migration.states import DrainMode, Ending, Step
from loraforge.nodes.models import Node

MIB = 2**20


def fill(
    *, now: datetime, operator: User, source: Node, target: Node, moves: Instance, failed: Instance
) -> None:
    """Both instances are on the source."""
    drain = Drain.objects.create(
        node=source, mode=DrainMode.MIGRATE, deadline_at=now + timedelta(hours=6), actor=operator
    )
    common = {"source": source, "source_attempt": 1, "target": target, "is_best": True}
    Migration.objects.create(
        instance=moves, drain=drain, step=Step.COPY, step_at=now - timedelta(seconds=20),
        from_step=moves.step, checkpoint_attempt=1, checkpoint_step=moves.step + 2,
        total_bytes=412 * MIB, copied_bytes=167 * MIB, **common,
    )  # fmt: skip
    Migration.objects.create(
        instance=failed, actor=failed.owner, state=Ending.FAILED, step=Step.STOP,
        step_at=now - timedelta(minutes=30), ended_at=now - timedelta(minutes=20),
        error="migration:source_away", from_step=failed.step, **common,
    )  # fmt: skip
