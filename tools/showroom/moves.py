"""A node that is emptied, a job that moves away from it, and a move that came to nothing."""

from datetime import datetime, timedelta

from loraforge.accounts.models import User
from loraforge.instances.models import Instance
from loraforge.migration.models import Drain, Migration, Prefetch
from loraforge.migration.states import DrainMode, Ending, Step
from loraforge.nodes.models import Node

MIB = 2**20


def fill(
    *, now: datetime, operator: User, source: Node, target: Node, moves: Instance, failed: Instance
) -> None:
    """``moves`` is on the source, ``failed`` on a node that does not answer."""
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
        error="migration:source_away", from_step=failed.step, **{**common, "source": failed.node},
    )  # fmt: skip
    source.cordoned = True
    source.save(update_fields=["cordoned"])
    target.cached_models = [
        "huggingface:BAAI/bge-m3@5617a9f61b028005a4858fdac845db406aefb181",
        "modelscope:Qwen/Qwen2.5-7B-Instruct@master",
    ]
    target.save(update_fields=["cached_models"])
    Prefetch.objects.create(
        node=target, hub="modelscope", repo="Qwen/Qwen3-32B", actor=operator,
        done_bytes=19_400 * MIB, total_bytes=62_480 * MIB,
    )  # fmt: skip
    Prefetch.objects.create(
        node=target, hub="huggingface", repo="meta-llama/Llama-3.1-8B", actor=operator,
        state=Prefetch.State.FAILED, error="user:hub_denied",
        detail="meta-llama/Llama-3.1-8B does not exist at Hugging Face, or only people who were let in may have it.",
    )  # fmt: skip
