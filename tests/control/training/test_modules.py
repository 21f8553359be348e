"""What does not train works on another job's checkpoint; what aligns has models and code files beside its own."""

from typing import Any

import pytest
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.core.errors import Conflict, Invalid
from loraforge.datasets.models import Dataset
from loraforge.gateway import dispatch
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.states import State
from loraforge.migration.services import job_migrate
from loraforge.nodes.models import Node
from loraforge.training.checks import draft_check
from loraforge.training.drafts import draft_of_job
from loraforge.training.models import Job
from loraforge.training.selectors import job_preview
from loraforge.training.services import (
    job_checkpoint,
    job_clone,
    job_delete,
    job_retry,
    job_submit,
)
from tests.control.training.test_resuming import NAMES, assign, leave
from tests.factories.training import (
    JobFactory,
    OnlineNodeFactory,
    ReadyDatasetFactory,
    draft_for,
)

pytestmark = pytest.mark.django_db
GRPO = {"rlhf_type": "grpo", "num_generations": 2, "per_device_train_batch_size": 2}


@pytest.fixture
def node(db: None) -> Node:
    found: Node = OnlineNodeFactory.create(name="n1", gpus=1)
    return found


def trained(owner: User, node: Node, **columns: Any) -> Job:
    job: Job = JobFactory.create(
        owner=owner, state=State.SUCCEEDED, instance__attempt=1, instance__node=node,
        instance__ended_at=timezone.now(), **columns,
    )  # fmt: skip
    attempt = Attempt.objects.create(
        instance=job.instance, number=1, node=node, ended_at=timezone.now()
    )
    leave(attempt, 40)
    return job


@pytest.fixture
def source(alice: User, node: Node) -> Job:
    return trained(alice, node)


def placed(job: Job) -> Attempt:
    return assign(job, Node.objects.get(name="n1"))


def code_file(owner: User, *names: str) -> Dataset:
    found: Dataset = ReadyDatasetFactory.create(
        owner=owner, kind=Dataset.Kind.CODE, row_format="python", rewards=list(names)
    )
    return found


def words_after(argv: list[str], flag: str) -> list[str]:
    place = argv.index(flag) + 1
    end = next((n for n in range(place, len(argv)) if argv[n].startswith("--")), len(argv))
    return argv[place:end]


def refused(user: User, **wanted: Any) -> dict[str, list[str]]:
    with pytest.raises(Invalid) as caught:
        job_submit(actor=user, draft=draft_for(user, **wanted), start=False)
    return caught.value.fields or {}


def test_inference_takes_the_checkpoint_and_its_model(alice: User, source: Job) -> None:
    draft = draft_for(alice, command="infer", model="", weights_from=str(source.pk), arguments={})
    job = job_submit(actor=alice, draft=draft, start=True)
    assert (job.model, job.model_type, job.template) == (
        source.model, source.model_type, source.template,
    )  # fmt: skip
    assert words_after(job.argv, "--adapters") == ["/lf/inputs/checkpoint-40"]
    assert words_after(job.argv, "--model") == ["/lf/model"]
    attempt = placed(job)
    start = dispatch.start_build(attempt)
    assert "--resume_from_checkpoint" not in start.argv
    targets = {one.target for one in start.inputs}
    assert "/lf/inputs/checkpoint-40/adapter_model.safetensors" in targets
    assert "/lf/inputs/checkpoint-40/optimizer.pt" not in targets
    assert draft_of_job(job).weights_from == f"{source.pk}:1:40"
    assert job.parent_id == source.pk


def test_a_whole_checkpoint_stands_in_for_the_model(alice: User, node: Node) -> None:
    source = trained(alice, node, arguments={"tuner_type": "full"})
    attempt = Attempt.objects.get(instance=source.instance)
    rows = attempt.output_files
    rows.filter(path__endswith="adapter_config.json").update(
        path="output/checkpoint-40/config.json"
    )
    rows.filter(path__endswith="adapter_model.safetensors").update(
        path="output/checkpoint-40/model.safetensors"
    )
    draft = draft_for(alice, command="infer", model="", weights_from=str(source.pk), arguments={})
    job = job_submit(actor=alice, draft=draft, start=True)
    assert words_after(job.argv, "--model") == ["/lf/inputs/checkpoint-40"]
    assert "--adapters" not in job.argv
    start = dispatch.start_build(placed(job))
    assert (start.mounts, start.fetches) == ([], [])


def test_merging_needs_lora_weights(alice: User, node: Node) -> None:
    fields = refused(alice, command="export", arguments={"merge_lora": True}, datasets=())
    assert list(fields) == ["arguments.merge_lora"]


def test_what_dpo_goes_on_from_is_its_reference_too(alice: User, source: Job) -> None:
    draft = draft_for(
        alice, command="rlhf", arguments={"rlhf_type": "dpo"}, weights_from=str(source.pk)
    )
    job = job_submit(actor=alice, draft=draft, start=True)
    assert words_after(job.argv, "--ref_adapters") == ["/lf/inputs/reference/checkpoint-40"]
    start = dispatch.start_build(placed(job))
    assert words_after(start.argv, "--resume_from_checkpoint") == ["/lf/inputs/checkpoint-40"]
    targets = [one.target for one in start.inputs]
    for folder in ("checkpoint-40", "reference/checkpoint-40"):
        assert f"/lf/inputs/{folder}/{NAMES[1]}" in targets
    again = draft_of_job(job)
    assert (again.ref_model, again.weights_from) == ("", f"{source.pk}:1:40")


def test_a_reward_model_may_be_anothers_result(alice: User, source: Job) -> None:
    draft = draft_for(
        alice, command="rlhf", arguments={"rlhf_type": "ppo"}, reward_models=(str(source.pk),)
    )
    job = job_submit(actor=alice, draft=draft, start=True)
    assert words_after(job.argv, "--reward_model") == ["/lf/model"]  # the same base model
    assert words_after(job.argv, "--reward_adapters") == ["/lf/inputs/model-0/checkpoint-40"]
    start = dispatch.start_build(placed(job))
    assert "/lf/inputs/model-0/checkpoint-40/adapter_config.json" in {
        one.target for one in start.inputs
    }
    assert draft_of_job(job).reward_models == (f"{source.pk}:1:40",)
    clone = job_clone(actor=alice, job=job)
    assert draft_of_job(clone).reward_models == (f"{source.pk}:1:40",)


def test_a_model_of_a_hub_is_fetched_beside_the_base_model(alice: User, node: Node) -> None:
    draft = draft_for(
        alice,
        command="rlhf",
        arguments={"rlhf_type": "gkd"},
        model="Qwen/Qwen2.5-0.5B-Instruct",
        teacher_model="Qwen/Qwen2.5-7B-Instruct",
    )
    job = job_submit(actor=alice, draft=draft, start=True)
    place = "/lf/data/model-0/Qwen2.5-7B-Instruct"
    assert words_after(job.argv, "--teacher_model") == [place]
    assert words_after(job.argv, "--teacher_model_type") == ["qwen2"]
    start = dispatch.start_build(placed(job))
    assert [(one.target, one.kind, one.repo) for one in start.fetches] == [
        ("/lf/model", "model", "Qwen/Qwen2.5-0.5B-Instruct"),
        (place, "model", "Qwen/Qwen2.5-7B-Instruct"),
    ]


def test_models_beside_it_are_alignments_alone_and_lie_in_the_roots(
    alice: User, node: Node
) -> None:
    assert list(refused(alice, teacher_model="org/name")) == ["teacher_model"]
    wanted = {"command": "rlhf", "arguments": {"rlhf_type": "gkd"}}
    assert list(refused(alice, teacher_model="/etc", **wanted)) == ["teacher_model"]
    assert list(refused(alice, teacher_model="999:1:4", **wanted)) == ["teacher_model"]
    given = {"rlhf_type": "gkd", "teacher_model": "org/name"}
    fields = refused(alice, command="rlhf", arguments=given)
    assert list(fields) == ["teacher_model"]


def test_reward_files_are_inputs_and_plugins(alice: User, node: Node) -> None:
    file = code_file(alice, "mine")
    draft = draft_for(
        alice,
        command="rlhf",
        arguments={**GRPO, "reward_funcs": ["mine"]},
        reward_files=(file.pk,),
    )
    job = job_submit(actor=alice, draft=draft, start=True)
    place = f"/lf/inputs/reward_0_{file.sha256[:12]}.py"
    assert words_after(job.argv, "--external_plugins") == ["/lf/plugin/platform_callback.py", place]
    start = dispatch.start_build(placed(job))
    assert place in {one.target for one in start.inputs}
    assert draft_of_job(job).reward_files == (file.pk,)


def test_code_and_rows_are_not_taken_for_each_other(alice: User, node: Node) -> None:
    file, rows = code_file(alice, "mine"), ReadyDatasetFactory.create(owner=alice)
    assert list(refused(alice, datasets=(file.pk,))) == ["datasets"]
    given = {"command": "rlhf", "arguments": {**GRPO, "reward_funcs": ["accuracy"]}}
    assert list(refused(alice, reward_files=(rows.pk,), **given)) == ["reward_files"]


def test_anothers_code_file_is_not_there(alice: User, bob: User, node: Node) -> None:
    file = code_file(bob, "mine")
    given = {"command": "rlhf", "arguments": {**GRPO, "reward_funcs": ["mine"]}}
    assert "reward_files" in refused(alice, reward_files=(file.pk,), **given)


def test_a_model_beside_it_that_is_gone_lets_nothing_start(alice: User, source: Job) -> None:
    draft = draft_for(
        alice, command="rlhf", arguments={"rlhf_type": "ppo"}, reward_models=(str(source.pk),)
    )
    job = job_submit(actor=alice, draft=draft, start=False)
    job_delete(actor=alice, job=source, files=False)
    job.instance.state = State.FAILED
    job.instance.save()
    with pytest.raises(Conflict, match="deleted or are not shared"):
        job_retry(actor=alice, job=job)


def test_a_service_is_shown_and_not_started(alice: User, node: Node) -> None:
    draft = draft_for(alice, command="deploy", arguments={}, datasets=())
    preview = job_preview(user=alice, draft=draft)
    assert preview.problems == []
    assert "swift.cli.deploy" in preview.command_line
    assert list(refused(alice, command="deploy", arguments={}, datasets=())) == ["command"]


def test_what_does_not_train_is_neither_saved_nor_moved(alice: User, source: Job) -> None:
    draft = draft_for(alice, command="infer", model="", weights_from=str(source.pk), arguments={})
    job = job_submit(actor=alice, draft=draft, start=True)
    placed(job)
    Instance.objects.filter(pk=job.pk).update(state=State.RUNNING)
    job.refresh_from_db()
    with pytest.raises(Conflict) as caught:
        job_checkpoint(actor=alice, job=job)
    assert caught.value.error_id == "training:saves_nothing"
    with pytest.raises(Conflict) as caught:
        job_migrate(actor=alice, job=job)
    assert caught.value.error_id == "migration:no_checkpoints"


def test_a_dataset_deleted_while_a_job_was_judged_is_not_taken(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = draft_for(alice)

    def then_deleted(**wanted: Any) -> Any:
        verdict = draft_check(**wanted)
        Dataset.objects.update(deleted_at=timezone.now())
        return verdict

    monkeypatch.setattr("loraforge.training.services.draft_check", then_deleted)
    with pytest.raises(Conflict) as caught:
        job_submit(actor=alice, draft=draft, start=False)
    assert caught.value.error_id == "training:dataset_gone"
    assert not Job.objects.exists()
