"""Heartbeats against SQL: what was lost is sent again, what is not wanted is stopped."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from loraforge.core.models import OutboxMessage
from loraforge.datasets.services import dataset_delete
from loraforge.gateway import dispatch, reconcile, tasks
from loraforge.gateway.inbound import phase_apply
from loraforge.gateway.ingest import Ingest
from loraforge.gateway.reconcile import Memory, node_reconcile
from loraforge.instances.models import Attempt, Instance, InstanceEvent
from loraforge.instances.services import instance_stop
from loraforge.instances.states import State
from loraforge.nodes import services as nodes
from loraforge.nodes import silence
from loraforge.nodes.models import Node, NodeState
from nodeagent.contract.phases import Phase
from nodeagent.contract.reports import Heartbeat, Held, PhaseChange
from tests.control.gateway.conftest import Agent, state_of
from tests.factories.training import JobDatasetFactory, ReadyDatasetFactory

pytestmark = pytest.mark.django_db


def held(attempt: Attempt, phase: Phase = Phase.RUNNING) -> Held:
    return Held(instance=attempt.instance_id, attempt=attempt.number, phase=phase, spec_hash="")


def look(
    node: Node, *inventory: Held, memory: Memory | None = None, **facts: Any
) -> list[tuple[str, Any]]:
    OutboxMessage.objects.all().delete()
    heartbeat = Heartbeat(
        boot_id="b",
        agent_version="1",
        held=list(inventory),
        unknown=facts.pop("unknown", []),
        cached=facts.pop("cached", []),
    )
    node_reconcile(node=node, heartbeat=heartbeat, memory=memory or Memory(), **facts)
    return [
        (row.target, row.payload)
        for row in OutboxMessage.objects.filter(kind="task", target__startswith="gateway")
    ]


def run(attempt: Attempt, phase: Phase = Phase.RUNNING, seq: int = 1) -> None:
    phase_apply(attempt=attempt, change=PhaseChange(phase=phase), seq=seq, at=0.0)


def last_reason(attempt: Attempt) -> str:
    return InstanceEvent.objects.filter(instance=attempt.instance_id).latest("id").reason


def later() -> Any:
    return timezone.now() + timedelta(seconds=6)


def test_a_start_that_did_not_arrive_is_sent_again_but_not_at_once(
    node: Node, attempt: Attempt
) -> None:
    memory = Memory()
    assert look(node, memory=memory) == []
    wanted = [("gateway.start_send", {"instance_id": attempt.instance_id, "attempt": 1})]
    assert look(node, memory=memory, now=later()) == wanted
    assert look(node, memory=memory, now=later()) == [], "not with every heartbeat"


def test_a_stop_is_repeated_until_it_has_ended(node: Node, attempt: Attempt) -> None:
    run(attempt)
    instance_stop(actor=attempt.instance.owner, instance=attempt.instance, mode="now")
    memory = Memory()
    assert look(node, held(attempt), memory=memory) == [
        ("gateway.stop_send", {"instance_id": attempt.instance_id, "attempt": 1, "mode": "now"})
    ]
    assert look(node, held(attempt), memory=memory) == []


def test_what_sql_has_ended_is_stopped_and_what_it_never_knew_is_left_alone(
    node: Node, attempt: Attempt
) -> None:
    run(attempt)
    Instance.objects.filter(pk=attempt.instance_id).update(state=State.LOST)
    strange = Held(instance=999_999, attempt=1, phase=Phase.RUNNING, spec_hash="")
    assert look(node, held(attempt), strange) == [
        ("gateway.stop_send", {"instance_id": attempt.instance_id, "attempt": 1, "mode": "save"})
    ]
    assert look(node, held(attempt, Phase.ENDED)) == []


def test_an_unreachable_node_makes_unknown_and_its_return_gives_back(
    node: Node, attempt: Attempt
) -> None:
    run(attempt)
    now = timezone.now()
    silence.hearing_touch(now=now - timedelta(seconds=200))
    for seconds in range(200, -1, -10):
        silence.hearing_touch(now=now - timedelta(seconds=seconds))
    Node.objects.filter(pk=node.pk).update(seen_at=now - timedelta(seconds=50))
    silence.nodes_review(now=now)
    instance = state_of(attempt)
    assert (instance.state, last_reason(attempt)) == (State.UNKNOWN, "node:offline")
    assert attempt.leases.filter(released_at=None).exists(), "its devices stay its own"
    node.refresh_from_db()
    assert node.state == NodeState.OFFLINE
    nodes.node_seen(node=node, heartbeat=Heartbeat(boot_id="b", agent_version="1"))
    look(node, held(attempt))
    assert state_of(attempt).state == State.RUNNING


def test_a_stop_asked_for_before_the_outage_is_still_wanted_after_it(
    node: Node, attempt: Attempt
) -> None:
    run(attempt)
    instance_stop(actor=attempt.instance.owner, instance=attempt.instance)
    Instance.objects.filter(pk=attempt.instance_id).update(state=State.UNKNOWN)
    assert [name for name, _payload in look(node, held(attempt))] == ["gateway.stop_send"]
    assert state_of(attempt).state == State.STOPPING


def test_an_attempt_that_its_node_forgot_is_replaced_after_the_grace(
    node: Node, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(attempt)
    memory = Memory()
    look(node, memory=memory)
    assert state_of(attempt).state == State.RUNNING
    monkeypatch.setattr(reconcile, "MISSING_GRACE_S", 0.0)
    look(node, memory=memory, unknown=[f"lf-{attempt.instance_id}-a1"])
    assert state_of(attempt).state == State.RUNNING, "it runs, only the journal is lost"
    look(node, memory=memory)
    instance = state_of(attempt)
    assert (instance.state, instance.retries) == (State.QUEUED, 1), "the node's fault: tried again"
    attempt.refresh_from_db()
    assert attempt.failure_reason == "node:lost_attempt"
    assert not attempt.leases.filter(released_at=None).exists()


@pytest.mark.redis
def test_a_last_word_that_does_not_come_is_asked_for(
    agent: Agent, ingest: Ingest, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.phase(attempt, Phase.RUNNING)
    agent.beat(held(attempt, Phase.ENDED))
    ingest.turn(block_ms=1)
    assert "reread:journal" not in agent.acks()
    monkeypatch.setattr(reconcile, "LATE_REPORT_S", 0.0)
    agent.beat(held(attempt, Phase.ENDED))
    ingest.turn(block_ms=1)
    assert agent.acks()["reread:journal"].startswith(f"{agent.seq}:")


def test_phases_while_stopping_do_not_undo_the_stop(attempt: Attempt) -> None:
    run(attempt, Phase.PREPARING, seq=1)
    instance_stop(actor=attempt.instance.owner, instance=attempt.instance)
    run(attempt, Phase.RUNNING, seq=2)
    assert state_of(attempt).state == State.STOPPING
    phase_apply(
        attempt=attempt,
        change=PhaseChange(phase=Phase.REFUSED, reason="command:stopped_before_start"),
        seq=3,
        at=0.0,
    )
    instance = state_of(attempt)
    assert (instance.state, instance.failure_reason) == (State.STOPPED, "")


def test_a_note_is_an_event_and_changes_no_state(attempt: Attempt) -> None:
    run(attempt, seq=1)
    phase_apply(
        attempt=attempt,
        change=PhaseChange(phase=Phase.RUNNING, reason="tail:unsafe", detail="a link"),
        seq=2,
        at=0.0,
    )
    assert state_of(attempt).state == State.RUNNING
    assert last_reason(attempt) == "tail:unsafe"


def test_a_deleted_dataset_is_taken_from_its_nodes_until_none_names_it(
    node: Node, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once where a job had it, and from every node whose heartbeat still has it; not what another has too."""
    sent: list[tuple[str, Any]] = []
    monkeypatch.setattr(
        dispatch, "command_send", lambda node, command: sent.append((node.name, command.hashes))
    )
    Instance.objects.filter(pk=attempt.instance_id).update(state=State.SUCCEEDED)
    used = JobDatasetFactory.create(job=attempt.instance.job)
    first, twin = used.dataset, ReadyDatasetFactory.create(sha256=used.sha256)
    wanted = ("gateway.discard_send", {"node_id": node.pk, "hashes": [first.sha256]})
    dataset_delete(actor=first.owner, dataset=first)
    message = OutboxMessage.objects.get(target="gateway.discard_send")
    assert (message.target, message.payload) == wanted
    tasks.discard_send_task(**message.payload)
    assert sent == [], "somebody else has the same bytes"
    assert look(node, cached=[first.sha256, "ab" * 32]) == []
    dataset_delete(actor=twin.owner, dataset=twin)
    assert look(node, cached=[first.sha256, "ab" * 32]) == [wanted]
    assert look(node, cached=["ab" * 32]) == []
    tasks.discard_send_task(**message.payload)
    assert sent == [(node.name, [first.sha256])]
