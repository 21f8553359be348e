"""A node is emptied: nothing new comes, what runs moves or ends, and only a person brings it back."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.core.errors import Conflict, Denied, Invalid
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.services import instance_assign, instance_queue
from loraforge.instances.states import State
from loraforge.instances.transitions import instance_move
from loraforge.migration.draining import drain_step, node_drain
from loraforge.migration.models import Drain, Migration
from loraforge.nodes.models import Node, NodeState
from loraforge.nodes.services import node_uncordon
from loraforge.notifications.models import Notification
from tests.factories.training import JobFactory, OnlineNodeFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def node(db: None) -> Node:
    made: Node = OnlineNodeFactory.create(name="n1", gpus=1)
    return made


@pytest.fixture
def running(alice: User, node: Node) -> Instance:
    instance = JobFactory.create(owner=alice).instance
    instance_queue(actor=alice, instance=instance)
    instance_assign(instance=instance, node=node, devices=["GPU-n1-0"])
    instance.refresh_from_db()
    return instance_move(instance=instance, target=State.RUNNING)


def drain(actor: User, node: Node, **facts: Any) -> Drain:
    return node_drain(actor=actor, node=node, **{"mode": "wait", **facts})


def test_an_empty_node_is_in_maintenance_until_a_person_says(olga: User, node: Node) -> None:
    assert drain_step(drain_id=drain(olga, node).pk)
    node.refresh_from_db()
    assert (node.state, node.cordoned) == (NodeState.MAINTENANCE, True)
    assert Notification.objects.filter(user=olga, what="node_drained").exists()
    node_uncordon(actor=olga, node=node)
    node.refresh_from_db()
    assert (node.state, node.cordoned) == (NodeState.SUSPECT, False)


def test_waiting_ends_with_the_last_job(olga: User, node: Node, running: Instance) -> None:
    begun = drain(olga, node)
    assert not drain_step(drain_id=begun.pk)
    assert not Migration.objects.exists()
    instance_move(instance=running, target=State.SUCCEEDED)
    assert drain_step(drain_id=begun.pk)
    begun.refresh_from_db()
    assert begun.is_done


def test_jobs_are_moved_where_somebody_takes_them(
    olga: User, node: Node, running: Instance
) -> None:
    begun = drain(olga, node, mode="migrate")
    drain_step(drain_id=begun.pk)
    assert not Migration.objects.exists(), "there is no other node yet"
    OnlineNodeFactory.create(name="n2", gpus=1)
    for _look in range(2):
        drain_step(drain_id=begun.pk)
    move = Migration.objects.get()
    assert (move.instance_id, move.drain_id, move.target.name) == (running.pk, begun.pk, "n2")


def test_at_the_deadline_what_runs_is_stopped_with_a_checkpoint(
    olga: User, node: Node, running: Instance
) -> None:
    begun = drain(olga, node, deadline_s=3600)
    drain_step(drain_id=begun.pk)
    running.refresh_from_db()
    assert running.state == State.RUNNING
    drain_step(drain_id=begun.pk, now=timezone.now() + timedelta(hours=2))
    running.refresh_from_db()
    assert running.state == State.STOPPING
    attempt = Attempt.objects.get(instance=running)
    assert (attempt.stop_requested, attempt.stop_reason) == ("save", "migration:drain_deadline")


def test_a_person_ends_it_by_bringing_the_node_back(
    olga: User, node: Node, running: Instance
) -> None:
    begun = drain(olga, node)
    node_uncordon(actor=olga, node=node)
    begun.refresh_from_db()
    assert begun.ended_at is not None
    assert not begun.is_done
    assert not drain_step(drain_id=begun.pk)
    node.refresh_from_db()
    assert node.state == NodeState.ONLINE


def test_what_is_refused(alice: User, olga: User, node: Node) -> None:
    with pytest.raises(Denied):
        drain(alice, node)
    for wrong in ({"mode": "now"}, {"deadline_s": 0}, {"deadline_s": 10**9}):
        with pytest.raises(Invalid):
            drain(olga, node, **wrong)
    drain(olga, node)
    with pytest.raises(Conflict):
        drain(olga, node)
