from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.core.models import OutboxMessage
from loraforge.instances.models import Attempt, DeviceLease, Instance
from loraforge.instances.services import instance_assign, instance_queue
from loraforge.instances.states import State
from loraforge.nodes.models import Node
from loraforge.nodes.services import node_seen
from loraforge.scheduling.selectors import placement_preview, queue_position, wait_text
from loraforge.scheduling.services import instances_place
from nodeagent.contract.reports import Heartbeat
from tests.factories.training import JobInstanceFactory, OnlineNodeFactory

pytestmark = pytest.mark.django_db


def queued(owner: User, **changes: object) -> Instance:
    instance: Instance = JobInstanceFactory.create(owner=owner, **changes)
    return instance_queue(actor=owner, instance=instance)


def test_places_the_first_and_tells_the_second_why_it_waits(alice: User) -> None:
    node = OnlineNodeFactory.create(gpus=2)
    first, second = queued(alice), queued(alice)
    OutboxMessage.objects.all().delete()
    assert instances_place() == 1
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, first.node, first.attempt) == (State.ASSIGNED, node, 1)
    assert first.attempts.get().devices == [f"GPU-{node.name}-0"]
    starts = OutboxMessage.objects.filter(target="gateway.start_send")
    assert [message.payload for message in starts] == [{"instance_id": first.pk, "attempt": 1}]
    assert second.wait_reason == "scheduling:user_cap"
    assert "1 at a time is the limit" in wait_text(instance=second)
    assert queue_position(instance=second) == 1


def test_an_online_node_of_before_the_restart_is_given_nothing_until_it_is_heard(
    alice: User,
) -> None:
    node = OnlineNodeFactory.create(gpus=1, seen_at=timezone.now() - timedelta(seconds=21))
    instance = queued(alice)
    assert instances_place() == 0
    instance.refresh_from_db()
    assert instance.wait_reason == "scheduling:node_offline"
    Node.objects.filter(pk=node.pk).update(seen_at=timezone.now())
    assert instances_place() == 1


def test_an_unchanged_reason_is_not_written_again(alice: User) -> None:
    queued(alice)
    instances_place()
    OutboxMessage.objects.all().delete()
    instances_place()
    assert not OutboxMessage.objects.exists()


def test_the_reasons_of_many_take_no_more_queries_than_those_of_few(alice: User) -> None:
    def queries(fresh: int) -> int:
        for _number in range(fresh):
            queued(alice)
        OutboxMessage.objects.all().delete()
        with CaptureQueriesContext(connection) as found:
            instances_place()
        frames = OutboxMessage.objects.filter(kind=OutboxMessage.Kind.FRAME)
        assert frames.count() == fresh
        return len(found)

    queries(1)  # makes the lock row
    assert queries(3) == queries(60)


def test_a_node_whose_disk_is_nearly_full_is_given_nothing_until_there_is_room(alice: User) -> None:
    node = OnlineNodeFactory.create(gpus=1)
    job = queued(alice)

    def beat(free: int) -> int:
        heard = Heartbeat(
            boot_id="b", agent_version="1", disk_free_bytes=free, disk_total_bytes=100
        )
        node_seen(node=node, heartbeat=heard)
        return instances_place()

    assert beat(9) == 0
    job.refresh_from_db()
    assert job.wait_reason == "scheduling:node_disk_low"
    assert beat(60) == 1


def test_a_lease_is_exclusive_and_the_loser_stays_queued(alice: User, bob: User) -> None:
    node = OnlineNodeFactory.create(gpus=1)
    first, second = queued(alice), queued(bob)
    instance_assign(instance=first, node=node, devices=[f"GPU-{node.name}-0"])
    with pytest.raises(IntegrityError), transaction.atomic():
        instance_assign(instance=second, node=node, devices=[f"GPU-{node.name}-0"])
    second.refresh_from_db()
    assert (second.state, second.attempt) == (State.QUEUED, 0)
    assert Attempt.objects.filter(instance=second).count() == 0
    assert DeviceLease.objects.filter(released_at=None).count() == 1


def test_preview_recommends_and_explains(alice: User, bob: User) -> None:
    node = OnlineNodeFactory.create(gpus=1)
    preview = placement_preview(user=alice, gpus=1)
    assert preview.starts_now
    assert preview.node == node
    assert [device.uuid for device in preview.devices] == [f"GPU-{node.name}-0"]
    instance_assign(instance=queued(bob), node=node, devices=[f"GPU-{node.name}-0"])
    waits = placement_preview(user=alice, gpus=1)
    assert (waits.node, waits.reason) == (None, "scheduling:no_free_device")
    assert placement_preview(user=bob, gpus=1).reason == "scheduling:user_cap"
    assert Instance.objects.filter(state=State.QUEUED).count() == 0


def test_without_a_queue_nothing_is_locked(django_assert_num_queries: object) -> None:
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert instances_place() == 0


def test_deleted_ones_are_not_placed(alice: User) -> None:
    OnlineNodeFactory.create(gpus=1)
    instance = queued(alice)
    Instance.objects.filter(pk=instance.pk).update(deleted_at=timezone.now())
    assert instances_place() == 0
