"""Going on from a checkpoint: what is chosen, what is refused, and what the node is then told."""

from typing import Any

import msgspec
import pytest
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.artifacts.models import OutputFile
from loraforge.artifacts.services import manifest_store
from loraforge.core.errors import Conflict, Gone, Invalid, NotFound
from loraforge.gateway import dispatch
from loraforge.instances import services as instances
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.states import State
from loraforge.nodes.models import Node, NodeState
from loraforge.telemetry.models import MetricRow
from loraforge.training.models import Job, JobDataset
from loraforge.training.resuming import (
    checkpoint_latest,
    checkpoints_list,
    job_resume,
    resume_newest,
)
from loraforge.training.services import job_retry, job_start, job_withdraw
from nodeagent.contract.reports import File
from tests.control.conftest import ClientOf, error_of
from tests.factories.training import JobFactory, OnlineNodeFactory, ReadyDatasetFactory

pytestmark = pytest.mark.django_db

NAMES = (
    "adapter_config.json", "adapter_model.safetensors", "optimizer.pt", "rng_state.pth",
    "scheduler.pt", "trainer_state.json",
)  # fmt: skip


def leave(attempt: Attempt, *steps: int, cut: int = 0) -> None:
    """A manifest with these checkpoints; that of step ``cut`` was not written to its end."""
    files = [
        File(
            path=f"output/checkpoint-{step}/{name}",
            size_bytes=10,
            sha256=f"{step:032x}{place:032x}",
            modified_at=1.0,
            is_cut=step == cut and name == "trainer_state.json",
        )
        for step in steps
        for place, name in enumerate(NAMES)
    ]
    manifest_store(attempt=attempt, files=files, complete=True)


@pytest.fixture
def node(db: None) -> Node:
    found: Node = OnlineNodeFactory.create(name="n1", gpus=1)
    return found


@pytest.fixture
def job(alice: User, node: Node) -> Job:
    """Stopped at step 45 of 100, with checkpoints of steps 20 and 40 on n1."""
    job: Job = JobFactory.create(
        owner=alice, state=State.STOPPED, instance__attempt=1, instance__node=node,
        instance__step=45, instance__max_steps=100,
    )  # fmt: skip
    attempt = Attempt.objects.create(
        instance=job.instance, number=1, node=node, ended_at=timezone.now()
    )
    leave(attempt, 20, 40)
    return job


def assign(job: Job, node: Node) -> Attempt:
    """What the scheduler does."""
    device = node.devices.get().uuid
    instance = Instance.objects.get(pk=job.pk)
    return instances.instance_assign(instance=instance, node=node, devices=[device])


@pytest.mark.parametrize("state", [State.STOPPED, State.FAILED, State.LOST])
def test_it_goes_on_from_the_newest(alice: User, job: Job, node: Node, state: State) -> None:
    Instance.objects.filter(pk=job.pk).update(state=state)
    resumed = job_resume(actor=alice, job=Job.objects.get(pk=job.pk))
    assert (resumed.instance.state, resumed.instance.step) == (State.QUEUED, 40)
    assert resumed.instance.progress == 40
    attempt = assign(job, node)
    assert attempt.number == 2
    assert (attempt.instance.step, Instance.objects.get(pk=job.pk).max_steps) == (40, 100)
    start = dispatch.start_build(attempt)
    assert start.argv == [
        *job.argv, "--resume_from_checkpoint", "/lf/inputs/checkpoint-40",
    ]  # fmt: skip
    assert {one.target for one in start.inputs} == {
        f"/lf/inputs/checkpoint-40/{name}" for name in NAMES
    }
    source = start.inputs[0].source
    assert source is not None
    assert (source.instance, source.attempt, source.path) == (
        job.pk,
        1,
        "output/checkpoint-40/adapter_config.json",
    )
    said = job.instance.events.get(target=State.QUEUED)
    assert (said.reason, said.detail) == ("resume:checkpoint", "checkpoint-40, attempt 1")


def test_a_start_that_is_sent_again_is_the_same(alice: User, job: Job, node: Node) -> None:
    job_resume(actor=alice, job=job)
    attempt = assign(job, node)
    first = dispatch.start_build(attempt)
    again = dispatch.start_build(Attempt.objects.get(pk=attempt.pk))
    # the address is signed anew, the time is another; nothing else may differ
    unsigned = [
        msgspec.structs.replace(
            one,
            issued_at=0.0,
            inputs=[msgspec.structs.replace(each, url="") for each in one.inputs],
        )
        for one in (first, again)
    ]
    assert unsigned[0] == unsigned[1]


def test_the_address_of_an_input_and_its_place_are_no_part_of_the_hash(
    alice: User, job: Job, node: Node
) -> None:
    job_resume(actor=alice, job=job)
    start = dispatch.start_build(assign(job, node))
    elsewhere = [msgspec.structs.replace(one, url="/x", source=None) for one in start.inputs]
    assert dispatch.spec_hash(msgspec.structs.replace(start, inputs=elsewhere)) == start.spec_hash


def test_another_node_fetches_it_by_signed_address(alice: User, job: Job) -> None:
    other = OnlineNodeFactory.create(name="n2", gpus=1)
    job_resume(actor=alice, job=job)
    start = dispatch.start_build(assign(job, other))
    assert {one.source for one in start.inputs} == {None}
    assert all(one.url.startswith("/api/v1/agent/inputs/files/") for one in start.inputs)


def test_weights_only_takes_no_optimizer(alice: User, job: Job, node: Node) -> None:
    job_resume(actor=alice, job=job, checkpoint="1:20", weights_only=True)
    start = dispatch.start_build(assign(job, node))
    assert start.argv[-4:] == [
        "--resume_from_checkpoint",
        "/lf/inputs/checkpoint-20",
        "--resume_only_model",
        "true",
    ]
    names = {one.target.rpartition("/")[2] for one in start.inputs}
    assert names == set(NAMES) - {"optimizer.pt", "scheduler.pt"}


def test_the_platform_itself_may_resume(job: Job) -> None:
    assert job_resume(actor=None, job=job).instance.state == State.QUEUED


def test_the_system_s_own_next_attempt(alice: User, job: Job, node: Node) -> None:
    resume = resume_newest(job=job)
    assert resume is not None
    assert resume.step == 40
    instances.instance_queue(actor=None, instance=job.instance, step=resume.step, max_steps=100)
    assert "/lf/inputs/checkpoint-40" in dispatch.start_build(assign(job, node)).argv
    OutputFile.objects.update(removed_at=timezone.now())
    again = Job.objects.get(pk=job.pk)
    assert resume_newest(job=again) is None
    assert "3" not in Job.objects.get(pk=job.pk).resumes


def test_a_checkpoint_that_was_cut_off_is_passed_over(alice: User, job: Job) -> None:
    leave(job.instance.attempts.get(), 20, 40, cut=40)
    latest = checkpoint_latest(job=job)
    assert latest is not None
    assert latest.id == "1:20"
    with pytest.raises(Conflict) as caught:
        job_resume(actor=alice, job=job, checkpoint="1:40")
    assert caught.value.error_id == "training:checkpoint_incomplete"
    assert "trainer_state.json" in caught.value.message
    assert job_resume(actor=alice, job=job).instance.step == 20


def test_a_node_that_is_away_is_not_waited_for(alice: User, job: Job, node: Node) -> None:
    Node.objects.filter(pk=node.pk).update(state=NodeState.LOST)
    assert checkpoint_latest(job=job) is None
    for wanted in (None, "1:40"):
        with pytest.raises(Conflict) as caught:
            job_resume(actor=alice, job=job, checkpoint=wanted)
        assert caught.value.error_id == "training:checkpoint_away"
        assert "n1" in caught.value.message


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [("1:30", NotFound), ("2:40", NotFound), ("40", Invalid), ("1:x", Invalid), (":", Invalid),
     ("1:" + "9" * 30, Invalid), ("²:40", Invalid)],
)  # fmt: skip
def test_what_is_no_checkpoint(
    alice: User, job: Job, wanted: str, kind: type[NotFound | Invalid]
) -> None:
    with pytest.raises(kind) as caught:
        job_resume(actor=alice, job=job, checkpoint=wanted)
    assert "checkpoint" in caught.value.fields
    job.instance.refresh_from_db()
    assert job.instance.state == State.STOPPED


def test_no_checkpoint_at_all(alice: User, job: Job) -> None:
    OutputFile.objects.update(removed_at=timezone.now())
    with pytest.raises(Conflict) as caught:
        job_resume(actor=alice, job=job)
    assert caught.value.error_id == "training:no_checkpoint"


def test_a_dataset_that_is_gone(alice: User, job: Job) -> None:
    dataset = ReadyDatasetFactory.create(owner=alice, deleted_at=timezone.now())
    JobDataset.objects.create(job=job, dataset=dataset, sha256=dataset.sha256)
    with pytest.raises(Conflict) as caught:
        job_resume(actor=alice, job=job)
    assert caught.value.error_id == "training:dataset_gone"


def test_a_checkpoint_that_goes_while_it_waits_is_said_so(
    alice: User, job: Job, node: Node
) -> None:
    job_resume(actor=alice, job=job)
    OutputFile.objects.filter(path__endswith="optimizer.pt").update(removed_at=timezone.now())
    with pytest.raises(Gone) as caught:
        dispatch.start_build(assign(job, node))
    assert caught.value.error_id == "artifacts:checkpoint_gone"


def test_a_retry_after_a_resume_begins_at_the_beginning(alice: User, job: Job, node: Node) -> None:
    job_resume(actor=alice, job=job)
    Instance.objects.filter(pk=job.pk).update(state=State.STOPPED)
    again = job_retry(actor=alice, job=Job.objects.get(pk=job.pk))
    assert again.instance.step == 0
    start = dispatch.start_build(assign(job, node))
    assert (start.argv, start.inputs) == (job.argv, [])


def test_a_resume_that_was_withdrawn_is_still_one(alice: User, job: Job, node: Node) -> None:
    job_resume(actor=alice, job=job)
    job_withdraw(actor=alice, job=job)
    started = job_start(actor=alice, job=Job.objects.get(pk=job.pk))
    assert (started.instance.step, started.instance.max_steps) == (40, 100)
    assert "--resume_from_checkpoint" in dispatch.start_build(assign(job, node)).argv


def test_the_list_has_the_loss_beside_it(
    alice: User, job: Job, django_assert_max_num_queries: Any
) -> None:
    attempt = job.instance.attempts.get()
    for place, (step, values) in enumerate(
        [(5, {"loss": 9.0}), (35, {"loss": 2.5}), (40, {"eval_loss": 2.0}), (45, {"loss": 1.0})]
    ):
        MetricRow.objects.create(
            attempt=attempt, start=place, end=place + 1, step=step, values=values
        )
    with django_assert_max_num_queries(5):
        newest, older = checkpoints_list(user=alice, job=job)
    assert (newest.id, newest.loss, newest.eval_loss, newest.node) == ("1:40", 2.5, 2.0, "n1")
    assert (older.id, older.loss, older.eval_loss) == ("1:20", 9.0, None)
    assert newest.can_resume
    assert newest.checkpoint.is_latest


# --- by the API ---


def test_resume_by_the_api(alice: User, bob: User, client_of: ClientOf, job: Job) -> None:
    address = f"/api/v1/jobs/{job.pk}/"
    rows = client_of(alice).get(f"{address}checkpoints/").json()["results"]
    assert [(row["id"], row["is_latest"], row["can_resume"]) for row in rows] == [
        ("1:40", True, True),
        ("1:20", False, True),
    ]
    assert client_of(bob).post(f"{address}resume/").status_code == 404
    bad = client_of(alice).post(f"{address}resume/", {"checkpoint": "last"})
    assert (bad.status_code, list(error_of(bad)["fields"])) == (400, ["checkpoint"])
    gone = client_of(alice).post(f"{address}resume/", {"checkpoint": "1:41"})
    assert (gone.status_code, error_of(gone)["id"]) == (404, "training:checkpoint_gone")
    answer = client_of(alice).post(f"{address}resume/", {"checkpoint": "1:20"})
    assert answer.status_code == 200, answer.json()
    assert (answer.json()["state"], answer.json()["step"]) == ("queued", 20)
    twice = client_of(alice).post(f"{address}resume/", {})
    assert (twice.status_code, error_of(twice)["id"]) == (409, "training:not_resumable")
