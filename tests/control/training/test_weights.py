"""Training on from another job's weights: what is frozen, what is refused, and what the node is told."""

from datetime import timedelta

import pytest
from auditlog.models import LogEntry
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.accounts.sharing import share_revoke
from loraforge.artifacts.leases import leased_until
from loraforge.artifacts.models import FileLease
from loraforge.core.errors import Conflict, Invalid
from loraforge.gateway import dispatch
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.states import State
from loraforge.nodes.models import Node
from loraforge.training.drafts import draft_of_job
from loraforge.training.models import Job
from loraforge.training.recovery import attempt_recover
from loraforge.training.resuming import job_resume
from loraforge.training.services import (
    SHARE,
    job_clone,
    job_delete,
    job_retry,
    job_share,
    job_start,
    job_submit,
    job_withdraw,
)
from loraforge.training.weights import weights_hold_waiting
from tests.control.conftest import ClientOf, error_of
from tests.control.training.test_resuming import NAMES, assign, leave
from tests.factories.training import JobFactory, OnlineNodeFactory, draft_for

pytestmark = pytest.mark.django_db

FLAGS = [
    "--resume_from_checkpoint", "/lf/inputs/checkpoint-40", "--resume_only_model", "true",
    "--ignore_data_skip", "true",
]  # fmt: skip


@pytest.fixture
def node(db: None) -> Node:
    found: Node = OnlineNodeFactory.create(name="n1", gpus=1)
    return found


@pytest.fixture
def source(alice: User, node: Node) -> Job:
    """Succeeded at step 40, with checkpoints of steps 20 and 40 on n1."""
    job: Job = JobFactory.create(
        owner=alice, state=State.SUCCEEDED, instance__attempt=1, instance__node=node,
        instance__ended_at=timezone.now(),
    )  # fmt: skip
    attempt = Attempt.objects.create(
        instance=job.instance, number=1, node=node, ended_at=timezone.now()
    )
    leave(attempt, 20, 40)
    return job


def begun(user: User, source: Job, checkpoint: str = "", *, start: bool = True) -> Job:
    wanted = f"{source.pk}:{checkpoint}" if checkpoint else str(source.pk)
    draft = draft_for(user, weights_from=wanted, arguments={})
    return job_submit(actor=user, draft=draft, start=start)


def refused(user: User, **changes: object) -> dict[str, list[str]]:
    with pytest.raises(Invalid) as caught:
        job_submit(actor=user, draft=draft_for(user, **{"arguments": {}, **changes}), start=True)
    return caught.value.fields


def test_it_begins_with_the_weights_and_a_schedule_of_its_own(
    alice: User, source: Job, node: Node
) -> None:
    job = begun(alice, source)
    assert (job.parent_id, job.weights["step"], job.instance.step) == (source.pk, 40, 0)
    start = dispatch.start_build(assign(job, node))
    assert start.argv == [*job.argv, *FLAGS]
    names = {one.target for one in start.inputs if "checkpoint" in one.target}
    assert names == {
        f"/lf/inputs/checkpoint-40/{name}" for name in set(NAMES) - {"optimizer.pt", "scheduler.pt"}
    }
    given = next(one.source for one in start.inputs if one.source is not None)
    assert (given.instance, given.attempt) == (source.pk, 1)
    assert draft_of_job(job).weights_from == f"{source.pk}:1:40"
    assert begun(alice, source, "1:20").weights["step"] == 20
    entry = LogEntry.objects.filter(additional_data__what="training:weights").latest("pk")
    assert entry.changes == {"weights_from": ["", f"{source.pk}:1:20"]}


def test_its_own_checkpoint_goes_before_and_its_beginning_stays(
    alice: User, source: Job, node: Node
) -> None:
    job = begun(alice, source)
    attempt = assign(job, node)
    leave(attempt, 5)
    Attempt.objects.filter(pk=attempt.pk).update(ended_at=timezone.now())
    Instance.objects.filter(pk=job.pk).update(state=State.STOPPED)
    node.leases.all().delete()
    job_resume(actor=alice, job=Job.objects.get(pk=job.pk))
    resumed = dispatch.start_build(assign(job, node))
    assert resumed.argv == [*job.argv, "--resume_from_checkpoint", "/lf/inputs/checkpoint-5"]
    Instance.objects.filter(pk=job.pk).update(state=State.STOPPED)
    node.leases.all().delete()
    again = job_retry(actor=alice, job=Job.objects.get(pk=job.pk))
    assert again.instance.step == 0
    assert dispatch.start_build(assign(job, node)).argv == [*job.argv, *FLAGS]


def test_a_draft_is_withdrawn_and_started_as_it_was(alice: User, source: Job, node: Node) -> None:
    job = begun(alice, source, start=False)
    assert not FileLease.objects.exists()
    for _ in range(2):
        job = job_start(actor=alice, job=Job.objects.get(pk=job.pk))
        assert (job.instance.step, job.weights["step"]) == (0, 40)
        job_withdraw(actor=alice, job=job)


def test_what_is_refused(alice: User, bob: User, source: Job) -> None:
    for wanted in ("x", "1:", f"{source.pk}:1", f"{source.pk}:1:41", "9" * 30, f"{source.pk}:2:40"):
        fields = refused(alice, weights_from=wanted)
        assert list(fields) == ["weights_from"], wanted
    assert "There is no job" in refused(bob, weights_from=str(source.pk))["weights_from"][0]
    assert "There is no job" in refused(bob, parent=source.pk)["parent"][0]
    other = refused(alice, weights_from=str(source.pk), model="Qwen/Qwen2.5-0.5B-Instruct")
    assert "Qwen2.5-7B" in other["weights_from"][0]
    full = refused(alice, weights_from=str(source.pk), arguments={"tuner_type": "full"})
    assert "lora" in full["weights_from"][0]
    job_delete(actor=alice, job=source, files=False)
    assert "There is no job" in refused(alice, weights_from=str(source.pk))["weights_from"][0]


def test_shared_and_not_shared_any_more(alice: User, bob: User, source: Job, node: Node) -> None:
    job_share(actor=alice, job=source, username="bob")
    job = begun(bob, source)
    attempt = assign(job, node)
    clone = job_clone(actor=bob, job=job)
    assert clone.weights == job.weights
    share_revoke(actor=alice, row=source.instance, codename=SHARE, username="bob")
    assert job_clone(actor=bob, job=job).weights == {}
    assert not attempt_recover(attempt=attempt, reason="node:lost", detail="")
    Instance.objects.filter(pk=job.pk).update(state=State.FAILED)
    with pytest.raises(Conflict) as caught:
        job_retry(actor=bob, job=Job.objects.get(pk=job.pk))
    assert caught.value.error_id == "training:weights_gone"


def test_the_files_are_held_while_it_waits(alice: User, source: Job) -> None:
    job = begun(alice, source)
    FileLease.objects.update(expires_at=timezone.now())
    assert weights_hold_waiting() == 1
    until = leased_until(instance_id=source.pk)
    assert until is not None
    assert until > timezone.now() + timedelta(minutes=50)
    Instance.objects.filter(pk=job.pk).update(state=State.RUNNING)
    assert weights_hold_waiting() == 0


def test_by_the_api(alice: User, client_of: ClientOf, source: Job) -> None:
    draft = draft_for(alice)
    body = {"model": draft.model, "datasets": draft.datasets, "weights_from": str(source.pk)}
    shown = client_of(alice).post("/api/v1/swift/preview/", body).json()
    assert "--ignore_data_skip true" in shown["command_line"]
    made = client_of(alice).post("/api/v1/jobs/", {**body, "parent": source.pk})
    assert made.status_code == 201, made.json()
    assert made.json()["weights_from"] == f"{source.pk}:1:40"
    assert made.json()["parent"] == source.pk
    bad = client_of(alice).post("/api/v1/jobs/", {**body, "weights_from": "7" * 61})
    assert (bad.status_code, list(error_of(bad)["fields"])) == (400, ["weights_from"])
