"""An attempt that node or platform failed: the next one is queued in the same transaction, within bounds."""

from datetime import timedelta
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.utils import timezone

from loraforge.core.models import OutboxMessage
from loraforge.gateway.dispatch import start_build, stop_grace_s
from loraforge.gateway.inbound import attempt_fail, phase_apply
from loraforge.gateway.reconcile import Memory, lost_review, node_reconcile
from loraforge.instances.models import Attempt, Instance, InstanceEvent
from loraforge.instances.services import instance_assign, instance_stop
from loraforge.instances.states import State
from loraforge.nodes.models import Node, NodeState
from loraforge.notifications.models import Notification
from loraforge.training.models import Job
from loraforge.training.services import job_retry
from nodeagent.contract.phases import Outcome, Phase
from nodeagent.contract.reports import Heartbeat, Held, PhaseChange
from tests.control.gateway.conftest import state_of
from tests.control.training.test_resuming import leave
from tests.factories.training import JobDatasetFactory, OnlineNodeFactory

pytestmark = pytest.mark.django_db


def end(attempt: Attempt, seq: int = 9, **facts: Any) -> Instance:
    phase_apply(attempt=attempt, change=PhaseChange(phase=Phase.RUNNING), seq=seq - 1, at=0.0)
    phase_apply(attempt=attempt, change=PhaseChange(phase=Phase.ENDED, **facts), seq=seq, at=0.0)
    return state_of(attempt)


def again(instance: Instance, node: Node) -> Attempt:
    return instance_assign(instance=instance, node=node, devices=["cpu-0"])


def test_a_node_s_fault_is_answered_three_times_and_then_told(attempt: Attempt, node: Node) -> None:
    place = attempt.instance.queued_at
    for number in (1, 2, 3):
        instance = end(attempt, reason="node:rebooted")
        assert (instance.state, instance.retries, instance.failure_reason) == (
            State.QUEUED,
            number,
            "",
        )
        assert instance.queued_at == place, "its place in the queue is kept"
        assert instance.avoided_nodes == {str(node.pk): False}
        attempt.refresh_from_db()
        assert attempt.failure_reason == "node:rebooted"
        assert not attempt.leases.filter(released_at=None).exists()
        attempt = again(instance, node)
        assert attempt.number == number + 1
    instance = end(attempt, reason="node:rebooted")
    assert (instance.state, instance.failure_reason) == (State.FAILED, "node:rebooted")
    reasons = list(InstanceEvent.objects.filter(instance=instance).values_list("reason", flat=True))
    assert reasons[-2:] == ["recovery:limit", "node:rebooted"]
    assert LogEntry.objects.filter(additional_data__what="instances:recover").count() == 3
    assert Notification.objects.filter(instance=instance, what="retried").count() == 3
    assert Notification.objects.filter(instance=instance, what="failed").count() == 1
    job_retry(actor=instance.owner, job=Job.objects.get(pk=instance.pk))
    instance.refresh_from_db()
    assert (instance.retries, instance.avoided_nodes) == (0, {}), "a person's retry begins anew"


@pytest.mark.parametrize("reason", ["", "node:oom_killed", "input:not_found"])
def test_what_the_same_again_does_not_help_ends(attempt: Attempt, reason: str) -> None:
    instance = end(attempt, exit_code=1, reason=reason)
    assert (instance.state, instance.retries) == (State.FAILED, 0)


def test_a_person_s_stop_is_never_undone(attempt: Attempt) -> None:
    phase_apply(attempt=attempt, change=PhaseChange(phase=Phase.RUNNING), seq=1, at=0.0)
    instance_stop(actor=attempt.instance.owner, instance=attempt.instance)
    attempt.refresh_from_db()
    phase_apply(
        attempt=attempt,
        change=PhaseChange(phase=Phase.ENDED, exit_code=1, reason="node:disk_full"),
        seq=3,
        at=0.0,
    )
    instance = state_of(attempt)
    assert (instance.state, instance.retries) == (State.FAILED, 0)


def test_a_start_that_the_platform_could_not_make_is_not_repeated(attempt: Attempt) -> None:
    assert attempt_fail(attempt=attempt, reason="training:dataset_gone", detail="x")
    assert state_of(attempt).state == State.FAILED


def test_a_broken_node_is_avoided_by_the_next_attempt(attempt: Attempt, node: Node) -> None:
    instance = end(attempt, reason="node:disk_full", detail="No room for x.")
    assert instance.avoided_nodes == {str(node.pk): True}
    event = InstanceEvent.objects.filter(instance=instance).latest("id")
    assert (event.source, event.target, event.detail) == (
        State.RUNNING,
        State.QUEUED,
        "No room for x.",
    )


def out_of_memory(attempt: Attempt, **columns: Any) -> Instance:
    Job.objects.filter(pk=attempt.instance_id).update(**columns)
    return end(attempt, exit_code=1, reason="user:gpu_out_of_memory")


def test_out_of_memory_is_answered_once_when_its_owner_allowed_it(
    attempt: Attempt, node: Node
) -> None:
    arguments = {"per_device_train_batch_size": 4}
    instance = out_of_memory(attempt, oom_recovery=True, arguments=arguments)
    assert (instance.state, instance.retries) == (State.QUEUED, 1)
    attempt = again(instance, node)
    argv = start_build(attempt).argv
    assert argv[argv.index("--per_device_train_batch_size") + 1] == "2"
    assert argv[argv.index("--gradient_accumulation_steps") + 1] == "8", "4 x 4 rows stay 16"
    instance = end(attempt, exit_code=1, reason="user:gpu_out_of_memory")
    assert instance.state == State.FAILED
    assert InstanceEvent.objects.filter(reason="recovery:halved_already").exists()


def test_out_of_memory_without_leave_or_with_a_batch_of_one_ends(attempt: Attempt) -> None:
    assert out_of_memory(attempt).state == State.FAILED


def test_a_batch_of_one_says_that_nothing_is_left_to_halve(attempt: Attempt) -> None:
    assert out_of_memory(attempt, oom_recovery=True).state == State.FAILED
    assert InstanceEvent.objects.filter(reason="recovery:batch_is_one").exists()


def test_a_dataset_that_is_gone_makes_no_next_attempt(attempt: Attempt) -> None:
    row = JobDatasetFactory.create(job=Job.objects.get(pk=attempt.instance_id))
    row.dataset.deleted_at = timezone.now()
    row.dataset.save()
    assert end(attempt, reason="node:rebooted").state == State.FAILED


def test_the_platform_s_stop_keeps_its_reason(attempt: Attempt) -> None:
    phase_apply(attempt=attempt, change=PhaseChange(phase=Phase.RUNNING), seq=1, at=0.0)
    instance_stop(actor=None, instance=attempt.instance, reason="user:run_time_exceeded")
    attempt.refresh_from_db()
    instance = end(attempt, exit_code=75, outcome=Outcome.STOPPED)
    assert (instance.state, instance.failure_reason) == (State.STOPPED, "user:run_time_exceeded")
    assert instance.retries == 0


def test_it_goes_on_from_the_last_whole_checkpoint(attempt: Attempt, node: Node) -> None:
    Job.objects.filter(pk=attempt.instance_id).update(oom_recovery=True)
    leave(attempt, 20, 40, 60, cut=60)
    Instance.objects.filter(pk=attempt.instance_id).update(step=65, max_steps=100)
    instance = end(attempt, reason="node:rebooted")
    assert (instance.state, instance.step, instance.max_steps) == (State.QUEUED, 40, 100)
    following = again(instance, node)
    attempt.refresh_from_db()
    assert following.queued_at == attempt.ended_at, "it waits since the last attempt has ended"
    argv = start_build(following).argv
    assert argv[-2:] == ["--resume_from_checkpoint", "/lf/inputs/checkpoint-40"]
    instance = end(following, reason="node:rebooted")
    assert instance.step == 40, "also when the second attempt left none"
    Node.objects.filter(pk=node.pk).update(state=NodeState.OFFLINE)
    instance = end(again(instance, OnlineNodeFactory.create(cpu_slots=1)), reason="node:rebooted")
    assert instance.step == 0, "what lies on a node that does not answer cannot be had"


# -- a node that is lost


def cut_off(
    attempt: Attempt, *, silent_s: float, fenced_after_s: int = 810, **columns: Any
) -> None:
    """Its node has been silent for so long, and had said that it ends the attempt by then."""
    Job.objects.filter(pk=attempt.instance_id).update(**{"on_node_lost": "restart", **columns})
    phase_apply(attempt=attempt, change=PhaseChange(phase=Phase.RUNNING), seq=1, at=0.0)
    held = Held(
        instance=attempt.instance_id, attempt=attempt.number, phase=Phase.RUNNING, spec_hash="",
        fenced_after_s=fenced_after_s,
    )  # fmt: skip
    heartbeat = Heartbeat(boot_id="b", agent_version="1", held=[held])
    node_reconcile(node=attempt.node, heartbeat=heartbeat, memory=Memory())
    Instance.objects.filter(pk=attempt.instance_id).update(state=State.UNKNOWN)
    seen = timezone.now() - timedelta(seconds=silent_s)
    Node.objects.filter(pk=attempt.node_id).update(state=NodeState.LOST, seen_at=seen)


def test_what_a_lost_node_has_ended_goes_on_elsewhere(attempt: Attempt) -> None:
    cut_off(attempt, silent_s=900)
    assert lost_review() == 1
    instance = state_of(attempt)
    assert (instance.state, instance.retries) == (State.QUEUED, 1)
    attempt.refresh_from_db()
    assert (attempt.failure_reason, attempt.ended_at is not None) == ("node:lost", True)
    assert lost_review() == 0
    other = OnlineNodeFactory.create(cpu_slots=1)
    assert again(instance, other).number == 2
    OutboxMessage.objects.all().delete()
    held = Held(instance=instance.pk, attempt=1, phase=Phase.RUNNING, spec_hash="")
    heartbeat = Heartbeat(boot_id="b", agent_version="1", held=[held])
    node_reconcile(node=attempt.node, heartbeat=heartbeat, memory=Memory())
    stops = OutboxMessage.objects.filter(target="gateway.stop_send")
    assert [row.payload["attempt"] for row in stops] == [1], (
        "the old one is stopped when it returns"
    )


@pytest.mark.parametrize(
    "facts",
    [
        {"silent_s": 900, "on_node_lost": "wait"},
        {"silent_s": 900, "fenced_after_s": 0},  # an agent that knows no fence
        {"silent_s": 300},  # lost by an operator's word, before its fence fell
    ],
)
def test_a_lost_node_s_attempt_waits(attempt: Attempt, facts: dict[str, Any]) -> None:
    cut_off(attempt, **facts)
    assert lost_review() == 0
    assert state_of(attempt).state == State.UNKNOWN


def test_the_start_carries_the_fence_only_where_it_may_be_replaced(
    attempt: Attempt, settings: Any
) -> None:
    settings.NODE_LOST_S = 900
    start = start_build(attempt)
    assert (start.fence_after_s, start.fence_grace_s) == (0, 0)
    Job.objects.filter(pk=attempt.instance_id).update(on_node_lost="restart", save_every_s=0)
    assert start_build(attempt) != start, "beside the signed time"
    assert start_build(attempt).spec_hash == start.spec_hash, (
        "an attempt keeps what it was started with"
    )
    following = again(end(attempt, reason="node:rebooted"), attempt.node)
    start = start_build(following)
    assert (start.fence_after_s, start.fence_grace_s) == (540, 270)
    assert (start.save_every_s, start.env["CB_SAVE_EVERY_S"]) == (0, "0")


def test_a_stop_waits_for_two_steps_of_a_slow_training(attempt: Attempt, settings: Any) -> None:
    settings.STOP_GRACE_S, settings.STOP_SAVE_MAX_S = 30, 600
    assert stop_grace_s(attempt) == 30
    attempt.instance.step, attempt.instance.max_steps = 10, 20
    attempt.instance.eta_s = 450
    assert stop_grace_s(attempt) == 90
    attempt.instance.eta_s = 100_000
    assert stop_grace_s(attempt) == 600
