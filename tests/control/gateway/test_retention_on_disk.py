"""Retention read from the disk: a real agent with real files, and a clock that is moved by hand."""

from datetime import timedelta
from pathlib import Path

import pytest

from loraforge.artifacts.models import OutputFile, Removal
from loraforge.artifacts.removals import retention_sweep
from loraforge.core.models import OutboxMessage
from loraforge.gateway.ingest import Ingest
from loraforge.gateway.tasks import remove_send_task
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.services import instance_assign, instance_queue, instance_update
from loraforge.instances.states import State
from loraforge.nodes.models import Node
from tests.agent.plane import AgentProcess, Plane, start_command
from tests.control.gateway.conftest import state_of
from tests.control.webserver import wait_until
from tests.factories.training import JobFactory

pytestmark = [pytest.mark.django_db, pytest.mark.redis]

DAY = timedelta(days=1)
TRAINER = (
    "import pathlib, sys; pathlib.Path(sys.argv[1], 'weights.bin').write_bytes(b'w' * 100_000)"
)


def another_attempt(node: Node) -> Attempt:
    instance: Instance = JobFactory.create().instance
    instance_queue(actor=instance.owner, instance=instance)
    return instance_assign(instance=instance, node=node, devices=["cpu-1"])


def commands_send() -> int:
    """What the relay and a control worker would do with the hints that wait; how many there were."""
    waiting = list(OutboxMessage.objects.filter(target="gateway.remove_send").order_by("pk"))
    for message in waiting:
        remove_send_task(**message.payload)
        message.delete()
    return len(waiting)


def test_files_lie_on_the_disk_for_seven_days_and_then_no_more(
    broker: str, attempt: Attempt, node: Node, ingest: Ingest, tmp_path: Path
) -> None:
    plane = Plane(broker, node=node.name)
    plane.acking = False  # the reports are for the real ingest
    agent = AgentProcess(plane, tmp_path / "node", models=tmp_path)
    kept = another_attempt(node)

    def taken_in() -> bool:
        ingest.turn(block_ms=10)
        return {state_of(one).state for one in (attempt, kept)} == {State.SUCCEEDED}

    def disk(one: Attempt) -> int:
        folder = agent.folder / "jobs" / str(one.instance_id)
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def confirmed() -> bool:
        ingest.turn(block_ms=10)
        return not Removal.objects.filter(done_at=None).exists()

    try:
        agent.start()
        for number, one in enumerate((attempt, kept)):
            argv = ["-c", TRAINER, "/lf/job/output"]
            plane.send(
                start_command(one.instance_id, argv, devices=[f"cpu-{number}"], id=f"s{number}")
            )
        wait_until(taken_in, timeout_s=60)
        instance = state_of(attempt)
        instance_update(actor=kept.instance.owner, instance=kept.instance, keep=True)
        ended = instance.ended_at
        assert ended is not None
        assert OutputFile.objects.filter(attempt=attempt, path="output/weights.bin").exists()

        retention_sweep(now=ended + 6 * DAY)
        assert commands_send() == 0
        assert disk(attempt) > 100_000

        retention_sweep(now=ended + 7 * DAY)
        assert commands_send() == 1
        wait_until(confirmed, timeout_s=60)
        assert disk(attempt) == 0
        assert not (agent.folder / "jobs" / str(attempt.instance_id)).exists()
        wait_until(lambda: not list((agent.folder / "trash").iterdir()), timeout_s=60)

        retention_sweep(now=ended + 8 * DAY)
        assert commands_send() == 0, "each exactly once"
        assert Removal.objects.count() == 1
        assert disk(kept) > 100_000, "kept"
    finally:
        agent.close()
        plane.close()
