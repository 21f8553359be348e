"""Operators have a node fetch a model ahead; the node tells how far it is, and jobs that want it go there."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.core.errors import Conflict, Denied, Invalid
from loraforge.core.models import OutboxMessage
from loraforge.gateway import dispatch
from loraforge.instances.models import Instance
from loraforge.instances.services import instance_queue
from loraforge.migration.models import Prefetch
from loraforge.migration.prefetching import model_prefetch, prefetches_ask, staged_take
from loraforge.nodes.models import Node, NodeState
from loraforge.nodes.services import node_seen
from loraforge.scheduling.services import instances_place
from nodeagent.contract.commands import Command, Stage
from nodeagent.contract.reports import Heartbeat, Staged
from tests.control.conftest import ClientOf, error_of
from tests.factories.training import JobFactory, OnlineNodeFactory

pytestmark = pytest.mark.django_db
REPO = "org/model-7b"


@pytest.fixture
def node(db: None) -> Node:
    made: Node = OnlineNodeFactory.create(name="n2", gpus=1)
    return made


@pytest.fixture
def row(olga: User, node: Node) -> Prefetch:
    return model_prefetch(actor=olga, node=node, hub="modelscope", repo=REPO)


def told(row: Prefetch, **facts: Any) -> Prefetch:
    staged_take(node=row.node, staged=[Staged(id=row.stage_id, **facts)])
    row.refresh_from_db()
    return row


def test_the_node_is_told_and_tells_how_far_it_is(
    row: Prefetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Command] = []
    monkeypatch.setattr(dispatch, "command_send", lambda *, node, command: sent.append(command))
    message = OutboxMessage.objects.get(target="gateway.prefetch_send")
    assert dispatch.prefetch_send(**message.payload)
    (command,) = sent
    assert isinstance(command, Stage)
    assert [(one.hub, one.repo, one.token_url) for one in command.fetches] == [
        ("modelscope", REPO, "")
    ]
    assert told(row, done_bytes=5, total_bytes=9).state == Prefetch.State.ACTIVE
    assert (row.done_bytes, row.total_bytes) == (5, 9)
    assert told(row, done_bytes=9, total_bytes=9, digest="ab" * 32).state == Prefetch.State.DONE
    assert not dispatch.prefetch_send(**message.payload), "it is over"


def test_why_it_failed_is_said_and_it_may_be_asked_for_again(
    olga: User, row: Prefetch, client: Client
) -> None:
    client.force_login(olga)
    told(row, error="node:hub_unreachable", detail="The hub does not answer.")
    assert (row.state, row.error) == (Prefetch.State.FAILED, "node:hub_unreachable")
    assert "The hub does not answer." in client.get("/nodes/n2/").content.decode()
    again = model_prefetch(actor=olga, node=row.node, hub="modelscope", repo=REPO)
    assert again.stage_id != row.stage_id
    assert "The hub does not answer." not in client.get("/nodes/n2/").content.decode()


def test_it_is_asked_for_again_until_it_is_given_up(row: Prefetch) -> None:
    assert prefetches_ask() == 0
    Prefetch.objects.update(asked_at=timezone.now() - timedelta(minutes=1))
    assert prefetches_ask() == 1
    Prefetch.objects.update(created_at=timezone.now() - timedelta(days=2), asked_at=None)
    assert prefetches_ask() == 0
    row.refresh_from_db()
    assert (row.state, row.error) == (Prefetch.State.FAILED, "migration:prefetch_late")


def test_a_job_goes_to_the_node_that_has_its_model(alice: User, node: Node) -> None:
    OnlineNodeFactory.create(name="n1", gpus=1)
    beat = Heartbeat(boot_id="b", agent_version="1", models=[f"modelscope:{REPO}@abc"])
    node_seen(node=node, heartbeat=beat)
    node_seen(node=node, heartbeat=Heartbeat(boot_id="b", agent_version="1"))
    job = JobFactory.create(owner=alice, model=REPO, model_hub="modelscope")
    instance_queue(actor=alice, instance=job.instance)
    assert instances_place() == 1
    assert Instance.objects.get(pk=job.pk).node == node


def test_what_is_refused(alice: User, olga: User, row: Prefetch, node: Node) -> None:
    with pytest.raises(Denied):
        model_prefetch(actor=alice, node=node, hub="modelscope", repo="org/other")
    right: dict[str, Any] = {"node": node, "hub": "modelscope", "repo": REPO}
    for wrong in ({"hub": "else"}, {"repo": "model"}, {"repo": "../x"}, {"revision": "-x"}):
        with pytest.raises(Invalid):
            model_prefetch(actor=olga, **{**right, **wrong})
    with pytest.raises(Conflict):
        model_prefetch(actor=olga, node=node, hub="modelscope", repo=REPO)
    Node.objects.update(state=NodeState.OFFLINE)
    node.refresh_from_db()
    with pytest.raises(Conflict):
        model_prefetch(actor=olga, node=node, hub="modelscope", repo="org/other")


def test_the_api(alice: User, olga: User, node: Node, client_of: ClientOf) -> None:
    where, body = "/api/v1/nodes/n2/prefetches/", {"hub": "huggingface", "model": REPO}
    assert client_of(alice).post(where, body).status_code == 403
    made = client_of(olga).post(where, body)
    assert made.status_code == 202
    assert client_of(olga).get(where).json()[0]["model"] == REPO
    assert error_of(client_of(olga).post(where, body))["id"] == "migration:prefetch_under_way"
    assert (
        error_of(client_of(olga).post(where, {**body, "model": "x"}))["id"] == "migration:bad_model"
    )
