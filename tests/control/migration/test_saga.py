"""A training moves: whoever dies at whatever statement, there is never a second runner, nor no copy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.billing.selectors import metered
from loraforge.core.errors import Conflict, Invalid
from loraforge.gateway import dispatch
from loraforge.instances.models import Attempt, DeviceLease, InstanceEvent
from loraforge.instances.services import StopMode, instance_assign, instance_queue, instance_stop
from loraforge.instances.states import State
from loraforge.migration import saga
from loraforge.migration.models import Migration
from loraforge.migration.services import job_migrate, migration_cancel
from loraforge.migration.states import Ending, Step
from loraforge.nodes.models import Node, NodeState
from loraforge.training.models import Job
from nodeagent.contract.commands import Stage
from tests.control.conftest import ClientOf, error_of
from tests.control.migration.world import World
from tests.factories.training import JobFactory, OnlineNodeFactory

pytestmark = pytest.mark.django_db

ROUNDS = 60


@pytest.fixture
def nodes(db: None) -> dict[str, Node]:
    return {
        name: OnlineNodeFactory.create(name=name, gpus=1, file_url=f"http://{name}:7070")
        for name in ("n1", "n2")
    }


@pytest.fixture
def job(alice: User, nodes: dict[str, Node]) -> Job:
    made: Job = JobFactory.create(owner=alice)
    return made


@pytest.fixture
def world(job: Job, nodes: dict[str, Node], monkeypatch: pytest.MonkeyPatch) -> World:
    """It trains on n1 at step 30, with a checkpoint of step 20."""
    world = World(instance_id=job.pk)
    monkeypatch.setattr(dispatch, "command_send", world.command)
    instance_queue(actor=job.instance.owner, instance=job.instance)
    instance_assign(instance=job.instance, node=nodes["n1"], devices=["GPU-n1-0"])
    world.deliver()
    world.trains(20)
    world.save("n1", 1, complete=False)
    world.trains(10)
    world.deliver()
    return world


class _Killed(Exception):
    """The worker died here."""


@contextmanager
def killed_at(number: int) -> Iterator[list[int]]:
    """The process dies before its write of this number; how many there were."""
    seen = [0]

    def execute(run: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.lstrip().startswith(("INSERT", "UPDATE", "DELETE")):
            seen[0] += 1
            if seen[0] == number:
                raise _Killed
        return run(sql, params, many, context)

    with connection.execute_wrapper(execute):
        yield seen


def step_dying(world: World) -> None:
    """One step of the saga, killed at its first write, then at its second ..., until it gets through."""
    for number in range(1, 200):
        try:
            with killed_at(number):
                saga.migration_step(migration_id=world.migration.pk)
        except _Killed:
            world.check()
            continue
        world.check()
        return
    pytest.fail("a step has no end")


def play(world: World, *, dying: bool = False, twice: bool = False) -> list[str]:
    """Until the migration has ended; the steps it went through."""
    seen: list[str] = []
    for _round in range(ROUNDS):
        row = world.migration
        if row.step not in seen:
            seen.append(row.step)
        if row.state != Ending.ACTIVE:
            return seen
        if dying:
            step_dying(world)
        else:
            saga.migration_step(migration_id=row.pk)
        world.check()
        world.deliver(twice=twice)
        world.check()
        world.heartbeats()
        world.trains(1)
        # what waits half a minute to be asked again, asks now
        Migration.objects.update(asked_at=None)
    pytest.fail(f"it does not end: {world.migration.step}")


def leases() -> set[tuple[str, int, bool]]:
    rows = DeviceLease.objects.filter(released_at=None)
    return set(rows.values_list("device_uuid", "attempt__number", "is_held"))


@pytest.mark.parametrize(("dying", "twice"), [(False, False), (True, True)])
def test_it_goes_on_at_the_other_node(
    alice: User, job: Job, world: World, dying: bool, twice: bool
) -> None:
    row = job_migrate(actor=alice, job=job)
    assert (row.source.name, row.target.name, row.is_best) == ("n1", "n2", True)
    assert play(world, dying=dying, twice=twice) == [str(step) for step in Step]
    row.refresh_from_db()
    assert (row.state, row.error, row.target_attempt) == (Ending.DONE, "", 2)
    assert world.where == {"n2"}
    assert leases() == {("GPU-n2-0", 2, False)}
    instance = world.instance
    assert (instance.state, instance.attempt, instance.node) == (State.RUNNING, 2, row.target)
    # it went on from what the source saved last, not from what was copied first
    job.refresh_from_db()
    resumed = job.resumes["2"]["step"]
    assert resumed == max(step for step in world.kept if step <= resumed)
    assert resumed > (row.from_step or 0)
    assert "n1" not in set().union(*world.kept.values()), "the source's files are gone"
    reasons = InstanceEvent.objects.filter(instance=job.pk).values_list("reason", flat=True)
    assert "migration:done" in list(reasons)


def test_the_source_s_files_wait_for_the_target_s_own_checkpoint(
    alice: User, job: Job, world: World
) -> None:
    job_migrate(actor=alice, job=job)
    while world.migration.step != Step.RELEASE:
        saga.migration_step(migration_id=world.migration.pk)
        world.deliver()
        world.heartbeats()
        world.trains(1)
    saga.migration_step(migration_id=world.migration.pk)
    assert leases() == {("GPU-n2-0", 2, False)}, "the devices are free at once"
    assert any("n1" in places for places in world.kept.values())


@pytest.mark.parametrize("dying", [False, True])
def test_a_copy_that_differs_leaves_everything_as_it_was(
    alice: User, job: Job, world: World, dying: bool
) -> None:
    world.bad_copy = True
    job_migrate(actor=alice, job=job)
    assert play(world, dying=dying)[-1] == Step.VERIFY
    assert (world.migration.state, world.migration.error) == (
        Ending.FAILED,
        "migration:copy_differs",
    )
    assert (world.where, world.instance.attempt) == ({"n1"}, 1)
    assert leases() == {("GPU-n1-0", 1, False)}


@pytest.mark.parametrize("dying", [False, True])
def test_a_target_that_cannot_start_it_gives_it_back(
    alice: User, job: Job, world: World, dying: bool
) -> None:
    world.start_fails = True
    job_migrate(actor=alice, job=job)
    assert play(world, dying=dying)[-1] == Step.START
    world.deliver()
    world.check()
    assert world.migration.state == Ending.FAILED
    assert (world.where, world.instance.attempt) == ({"n1"}, 3)
    assert leases() == {("GPU-n1-0", 3, False)}
    assert world.instance.state == State.RUNNING


@pytest.mark.parametrize("dying", [False, True])
def test_a_target_that_goes_away_at_the_hand_over_gives_it_back(
    alice: User, job: Job, nodes: dict[str, Node], world: World, dying: bool
) -> None:
    job_migrate(actor=alice, job=job)
    while world.migration.step != Step.SWITCH:
        saga.migration_step(migration_id=world.migration.pk)
        world.deliver()
        world.heartbeats()
    assert world.running == set(), "the source has ended"
    Node.objects.filter(pk=nodes["n2"].pk).update(state=NodeState.OFFLINE)
    play(world, dying=dying)
    world.deliver()
    assert (world.migration.state, world.migration.error) == (
        Ending.FAILED,
        "migration:target_away",
    )
    assert (world.where, world.instance.attempt) == ({"n1"}, 2)
    assert leases() == {("GPU-n1-0", 2, False)}


def test_the_devices_of_both_are_held_from_the_reservation_to_the_first_step(
    alice: User, job: Job, world: World
) -> None:
    job_migrate(actor=alice, job=job)
    seen = {}
    for _round in range(ROUNDS):
        row = world.migration
        seen[row.step] = {device for device, _number, _held in leases()}
        if row.state != Ending.ACTIVE:
            break
        saga.migration_step(migration_id=row.pk)
        world.deliver()
        world.heartbeats()
        world.trains(1)
        Migration.objects.update(asked_at=None)
    both = {"GPU-n1-0", "GPU-n2-0"}
    assert seen[Step.RESERVE] == {"GPU-n1-0"}
    assert seen[Step.STOP] == seen[Step.SWITCH] == seen[Step.START] == both
    assert leases() == {("GPU-n2-0", 2, False)}


def test_what_is_held_for_a_move_is_not_metered(alice: User, job: Job, world: World) -> None:
    """Two hours on the source count once; an hour for which the target was kept does not."""
    _began_earlier("GPU-n1-0", hours=2)
    job_migrate(actor=alice, job=job)
    while world.migration.step != Step.STOP:
        saga.migration_step(migration_id=world.migration.pk)
        world.deliver()
        world.heartbeats()
    _began_earlier("GPU-n2-0", hours=1)
    play(world)
    assert world.migration.state == Ending.DONE
    used = metered(DeviceLease.objects.all(), rates=(), now=timezone.now())
    seconds = {
        Attempt.objects.get(pk=pk).number: sum(line.gpu_seconds for line in one.lines)
        for pk, one in used.items()
    }
    assert 7200 <= seconds[1] < 7500
    assert seconds.get(2, 0) < 300


def _began_earlier(device: str, *, hours: int) -> None:
    rows = DeviceLease.objects.filter(device_uuid=device, released_at=None)
    assert rows.update(leased_at=F("leased_at") - timedelta(hours=hours)) == 1


def test_a_person_s_stop_is_no_move(alice: User, job: Job, world: World) -> None:
    job_migrate(actor=alice, job=job)
    saga.migration_run(migration_id=world.migration.pk)
    instance_stop(actor=alice, instance=job.instance)
    play(world)
    assert (world.migration.state, world.where) == (Ending.CANCELLED, set())
    assert (world.instance.state, leases()) == (State.STOPPED, set())


@pytest.mark.parametrize("mode", ["save", "now"])
def test_a_stop_while_it_is_being_stopped_is_a_person_s_too(
    alice: User, job: Job, world: World, mode: StopMode
) -> None:
    job_migrate(actor=alice, job=job)
    while world.instance.state != State.STOPPING:
        saga.migration_step(migration_id=world.migration.pk)
        if world.migration.step != Step.STOP:
            world.deliver()
        world.heartbeats()
    instance_stop(actor=alice, instance=world.instance, mode=mode)
    world.deliver()
    play(world)
    assert (world.migration.state, world.migration.error) == (
        Ending.CANCELLED,
        "migration:stopped_by_person",
    )
    assert (world.instance.state, leases()) == (State.STOPPED, set())


def test_it_can_be_called_off_until_the_source_is_stopped(
    alice: User, job: Job, world: World
) -> None:
    job_migrate(actor=alice, job=job)
    migration_cancel(actor=alice, job=job)
    play(world)
    assert (world.migration.state, world.where) == (Ending.CANCELLED, {"n1"})
    assert leases() == {("GPU-n1-0", 1, False)}
    with pytest.raises(Conflict):
        migration_cancel(actor=alice, job=job)


def test_a_source_that_saves_nothing_new_goes_with_what_it_has(
    alice: User, job: Job, world: World
) -> None:
    job_migrate(actor=alice, job=job)
    saga.migration_step(migration_id=world.migration.pk)
    assert world.migration.step == Step.FREEZE
    Migration.objects.update(step_at=timezone.now() - timedelta(hours=1))
    saga.migration_step(migration_id=world.migration.pk)
    row = world.migration
    assert (row.step, row.checkpoint_attempt, row.checkpoint_step) == (Step.COPY, 1, 20)


def test_a_copy_that_stands_still_is_given_up(alice: User, job: Job, world: World) -> None:
    job_migrate(actor=alice, job=job)
    saga.migration_step(migration_id=world.migration.pk)
    world.deliver()
    saga.migration_step(migration_id=world.migration.pk)
    assert world.migration.step == Step.COPY
    Migration.objects.update(
        step_at=timezone.now() - timedelta(hours=1), staged_error="input:unreachable"
    )
    saga.migration_step(migration_id=world.migration.pk)
    assert (world.migration.state, world.migration.error) == (Ending.FAILED, "input:unreachable")
    assert world.where == {"n1"}


def test_what_is_refused(alice: User, job: Job, nodes: dict[str, Node], world: World) -> None:
    with pytest.raises(Invalid):
        job_migrate(actor=alice, job=job, node=nodes["n1"])
    Node.objects.filter(pk=nodes["n2"].pk).update(cordoned=True)
    with pytest.raises(Conflict) as caught:
        job_migrate(actor=alice, job=job)
    assert caught.value.error_id == "migration:no_target"
    Node.objects.filter(pk=nodes["n2"].pk).update(cordoned=False)
    with pytest.raises(Conflict) as caught:
        job_migrate(actor=alice, job=job, node=OnlineNodeFactory.create(name="cpu", cpu_slots=1))
    assert caught.value.error_id == "migration:other_devices"
    assert "cpu has no GPU" in caught.value.fields["node"][0]
    job_migrate(actor=alice, job=job)
    with pytest.raises(Conflict) as caught:
        job_migrate(actor=alice, job=job)
    assert caught.value.error_id == "migration:under_way"
    other = JobFactory.create(owner=alice, state=State.QUEUED)
    with pytest.raises(Conflict) as caught:
        job_migrate(actor=alice, job=other)
    assert caught.value.error_id == "migration:not_running"


@pytest.mark.usefixtures("world")
def test_the_api(alice: User, bob: User, job: Job, client_of: ClientOf) -> None:
    url = f"/api/v1/jobs/{job.pk}/migrate/"
    assert client_of(bob).post(url, {}).status_code == 404
    assert error_of(client_of(alice).post(url, {"node": "n9"}))["id"] == "nodes:not_found"
    answer = client_of(alice).post(url, {"node": "n2"})
    assert (answer.status_code, answer.json()["target"]) == (202, "n2")
    assert (answer.json()["step"], answer.json()["number"]) == ("freeze", 1)
    listed = client_of(alice).get(f"/api/v1/jobs/{job.pk}/migrations/").json()["results"]
    assert [one["id"] for one in listed] == [answer.json()["id"]]
    assert client_of(alice).post(f"{url}cancel/", {}).status_code == 200


def test_the_target_asks_the_source_first(alice: User, job: Job, world: World) -> None:
    job_migrate(actor=alice, job=job)
    for _round in range(3):
        saga.migration_step(migration_id=world.migration.pk)
        world.deliver()
    node, stage = next(one for one in world.sent if one[1].id.startswith("stage"))
    assert isinstance(stage, Stage)
    peers = [one.peer for one in stage.inputs if one.peer is not None]
    assert (node, len(peers)) == ("n2", len(stage.inputs))
    assert {peer.url.rpartition("/a1/")[0] for peer in peers} == {f"http://n1:7070/jobs/{job.pk}"}
    assert Attempt.objects.filter(instance=job.pk).count() == 1
