import pytest
from auditlog.models import LogEntry

from loraforge.accounts.models import User
from loraforge.core import events
from loraforge.core.errors import Conflict, Denied, Invalid, NotFound
from loraforge.core.models import OutboxMessage
from loraforge.instances import selectors, services
from loraforge.instances.models import Attempt, DeviceLease, Instance, InstanceEvent
from loraforge.instances.states import State
from loraforge.nodes.models import Node, NodeState
from tests.factories.training import JobInstanceFactory, OnlineNodeFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def node() -> Node:
    created: Node = OnlineNodeFactory.create(gpus=2)
    return created


def assigned(owner: User, node: Node) -> Instance:
    instance: Instance = JobInstanceFactory.create(owner=owner)
    services.instance_queue(actor=owner, instance=instance)
    services.instance_assign(instance=instance, node=node, devices=[f"GPU-{node.name}-0"])
    instance.refresh_from_db()
    OutboxMessage.objects.all().delete()
    return instance


def tasks() -> list[tuple[str, dict[str, object]]]:
    rows = OutboxMessage.objects.filter(kind="task").exclude(target="scheduling.instances_place")
    return [(row.target, row.payload) for row in rows.order_by("id")]


def test_create_is_a_draft_with_an_audit_row(alice: User) -> None:
    instance = services.instance_create(
        actor=alice, owner=alice, name=" first ", gpus=2, tags=["a"]
    )
    assert (instance.state, instance.name, instance.gpus) == (State.DRAFT, "first", 2)
    entry = LogEntry.objects.get(additional_data__what="instances:create")
    assert (entry.actor, entry.object_pk) == (alice, str(instance.pk))


@pytest.mark.parametrize(("gpus", "processes"), [(0, 1), (1, 2), (2, 0)])
def test_create_refuses_bad_numbers(alice: User, gpus: int, processes: int) -> None:
    with pytest.raises(Invalid):
        services.instance_create(actor=alice, owner=alice, name="x", gpus=gpus, processes=processes)


def test_only_operators_raise_a_priority(alice: User, olga: User) -> None:
    instance = services.instance_create(actor=alice, owner=alice, name="x")
    with pytest.raises(Denied):
        services.instance_update(actor=alice, instance=instance, priority=1)
    services.instance_update(actor=alice, instance=instance, priority=-1)
    assert services.instance_update(actor=olga, instance=instance, priority=9).priority == 9


def test_viewers_create_nothing(vera: User) -> None:
    with pytest.raises(Denied):
        services.instance_create(actor=vera, owner=vera, name="x")


@pytest.mark.parametrize("what", ["queue", "withdraw", "stop", "checkpoint", "update", "delete"])
def test_a_stranger_finds_nothing(alice: User, bob: User, what: str) -> None:
    instance = JobInstanceFactory.create(owner=alice)
    extra = {"files": True} if what == "delete" else {}
    with pytest.raises(NotFound):
        getattr(services, f"instance_{what}")(actor=bob, instance=instance, **extra)
    assert list(selectors.instance_list(user=bob)) == []
    with pytest.raises(NotFound):
        selectors.instance_get(user=bob, instance_id=instance.pk)


def test_queue_and_withdraw(alice: User) -> None:
    instance = JobInstanceFactory.create(owner=alice)
    assert services.instance_queue(actor=alice, instance=instance).state == State.QUEUED
    assert OutboxMessage.objects.filter(target="scheduling.instances_place").exists()
    back = services.instance_withdraw(actor=alice, instance=instance)
    assert (back.state, back.queued_at) == (State.DRAFT, None)
    with pytest.raises(Conflict):
        services.instance_withdraw(actor=alice, instance=instance)


def test_stopping_what_never_ran_needs_no_node(alice: User) -> None:
    instance = JobInstanceFactory.create(owner=alice)
    services.instance_queue(actor=alice, instance=instance)
    assert services.instance_stop(actor=alice, instance=instance).state == State.STOPPED
    assert tasks() == []


def test_stop_then_cancel_sharpens_the_stop(alice: User, node: Node) -> None:
    instance = assigned(alice, node)
    assert services.instance_stop(actor=alice, instance=instance).state == State.STOPPING
    services.instance_stop(actor=alice, instance=instance, mode="now")
    services.instance_stop(actor=alice, instance=instance, mode="save")
    asked = {"instance_id": instance.pk, "attempt": 1}
    assert tasks() == [("gateway.stop_send", {**asked, "mode": mode}) for mode in ("save", "now")]
    assert Attempt.objects.get().stop_requested == "now"
    assert DeviceLease.objects.filter(released_at=None).count() == 1, "freed only when it has ended"


def test_an_operator_stops_everybodys(alice: User, olga: User, node: Node) -> None:
    instance = assigned(alice, node)
    assert services.instance_stop(actor=olga, instance=instance).state == State.STOPPING
    assert InstanceEvent.objects.latest("id").actor == olga


def test_delete_only_at_rest(alice: User, node: Node) -> None:
    instance = assigned(alice, node)
    with pytest.raises(Conflict, match="Stop or withdraw"):
        services.instance_delete(actor=alice, instance=instance, files=True)
    Instance.objects.filter(pk=instance.pk).update(state=State.FAILED)
    told: list[tuple[int, bool]] = []

    def listen(*, instance: Instance, files: bool) -> None:
        told.append((instance.pk, files))

    events.subscribe(events.INSTANCE_DELETED, listen)
    try:
        services.instance_delete(actor=alice, instance=instance, files=True)
    finally:
        events._handlers[events.INSTANCE_DELETED].remove(listen)
    assert told == [(instance.pk, True)]
    asked = {"instance_id": instance.pk, "attempt": 1, "tries": 0}
    assert tasks() == [("gateway.remove_send", asked)]
    with pytest.raises(NotFound):
        selectors.instance_get(user=alice, instance_id=instance.pk)


def test_checkpoint_needs_a_running_one(alice: User, node: Node) -> None:
    instance = assigned(alice, node)
    with pytest.raises(Conflict):
        services.instance_checkpoint(actor=alice, instance=instance)
    Instance.objects.filter(pk=instance.pk).update(state=State.RUNNING)
    services.instance_checkpoint(actor=alice, instance=instance)
    assert [name for name, _payload in tasks()] == ["gateway.checkpoint_send"]


def test_update_never_touches_the_state(alice: User, node: Node) -> None:
    stale = JobInstanceFactory.create(owner=alice)
    Instance.objects.filter(pk=stale.pk).update(state=State.RUNNING)
    services.instance_update(actor=alice, instance=stale, name="new", tags=["x"], keep=True)
    stale.refresh_from_db()
    assert (stale.state, stale.name, stale.keep) == (State.RUNNING, "new", True)


def test_only_an_operator_gives_up_before_the_node_is_lost(
    alice: User, olga: User, node: Node
) -> None:
    first = assigned(alice, node)
    Instance.objects.filter(pk=first.pk).update(state=State.UNKNOWN)
    with pytest.raises(Denied):
        services.instance_give_up(actor=alice, instance=first)
    assert services.instance_give_up(actor=olga, instance=first).state == State.LOST
    assert not DeviceLease.objects.filter(released_at=None).exists()
    second = assigned(alice, node)
    Instance.objects.filter(pk=second.pk).update(state=State.UNKNOWN)
    Node.objects.filter(pk=node.pk).update(state=NodeState.LOST)
    assert services.instance_give_up(actor=alice, instance=second).state == State.LOST
    with pytest.raises(Conflict):
        services.instance_give_up(actor=alice, instance=second)
