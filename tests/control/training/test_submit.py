"""From a draft to a job: every fault under its field, everything frozen, and one job for one key."""

from typing import Any

import pytest

from loraforge.accounts import sharing
from loraforge.accounts.models import User
from loraforge.core.errors import Conflict, Denied, Gone, Invalid
from loraforge.datasets.models import Dataset, DatasetState
from loraforge.instances.models import Instance
from loraforge.instances.states import State
from loraforge.training import services
from loraforge.training.drafts import JobDraft
from loraforge.training.models import Job
from tests.control.conftest import ClientOf, error_of
from tests.factories.training import (
    MODEL,
    JobFactory,
    OnlineNodeFactory,
    ReadyDatasetFactory,
    draft_for,
)

pytestmark = pytest.mark.django_db


def fields_of(user: User, draft: JobDraft) -> dict[str, list[str]]:
    with pytest.raises(Invalid) as caught:
        services.job_submit(actor=user, draft=draft, start=True)
    assert caught.value.error_id == "training:invalid_job"
    assert not Job.objects.exists()
    assert not Instance.objects.exists()
    return caught.value.fields


def test_a_right_draft_is_queued_and_frozen(alice: User, settings: Any) -> None:
    dataset = ReadyDatasetFactory.create(owner=alice)
    draft = draft_for(alice, datasets=(dataset.pk,), arguments={"lora_rank": "16"})
    job = services.job_submit(actor=alice, draft=draft, start=True)
    job.refresh_from_db()
    assert job.instance.state == State.QUEUED
    assert job.arguments == {"lora_rank": 16}
    assert (job.model_hub, job.model_type, job.template) == ("modelscope", "qwen2", "qwen2_5")
    assert (job.catalogue_version, job.image) == ("4.6.0", settings.SWIFT_IMAGE)
    assert job.argv[:4] == ["-m", "swift.cli.sft", "--model", "/lf/model"]
    assert (job.model, job.fetches[0]["repo"]) == (MODEL, MODEL)
    target = f"/lf/inputs/train-0-{dataset.sha256[:12]}.jsonl"
    assert job.argv[job.argv.index("--dataset") + 1] == target
    assert job.argv[job.argv.index("--seed") + 1] == str(job.seed)
    assert "--use_cpu" not in job.argv
    assert [row.sha256 for row in job.job_datasets.all()] == [dataset.sha256]


def test_the_seed_is_random_and_kept_when_none_is_given(alice: User) -> None:
    seeds = {
        services.job_submit(actor=alice, draft=draft_for(alice), start=False).seed for _ in range(3)
    }
    assert len(seeds) == 3
    given = draft_for(alice, arguments={"seed": 7})
    assert services.job_submit(actor=alice, draft=given, start=False).seed == 7


def test_a_folder_of_a_node_becomes_the_fixed_path(
    alice: User, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Any
) -> None:
    model = tmp_path / "Qwen2.5-7B-Instruct"
    model.mkdir()
    (model / "config.json").write_text('{"architectures": ["Qwen2ForCausalLM"]}')
    settings.MODEL_ROOTS = [str(tmp_path)]
    job = services.job_submit(actor=alice, draft=draft_for(alice, model=str(model)), start=False)
    assert job.argv[job.argv.index("--model") + 1] == "/lf/model"
    assert (job.model, job.model_hub) == (str(model), "")


def test_a_remote_dataset_is_named_by_its_id(alice: User) -> None:
    remote = ReadyDatasetFactory.create(
        owner=alice, kind=Dataset.Kind.REMOTE, remote_id="AI-ModelScope/alpaca-gpt4-data-zh"
    )
    draft = draft_for(alice, datasets=(remote.pk,))
    job = services.job_submit(actor=alice, draft=draft, start=False)
    assert job.argv[job.argv.index("--dataset") + 1] == "/lf/data/0/alpaca-gpt4-data-zh"
    assert job.fetches[1]["repo"] == "AI-ModelScope/alpaca-gpt4-data-zh"


def test_validation_sets_have_places_of_their_own(alice: User) -> None:
    other = ReadyDatasetFactory.create(owner=alice)
    draft = draft_for(alice, validation_datasets=(other.pk,))
    job = services.job_submit(actor=alice, draft=draft, start=False)
    target = f"/lf/inputs/val-0-{other.sha256[:12]}.jsonl"
    assert job.argv[job.argv.index("--val_dataset") + 1] == target


def test_names_are_made_readable_and_do_not_repeat(alice: User) -> None:
    dataset = ReadyDatasetFactory.create(owner=alice, name="faq.jsonl")
    draft = draft_for(alice, datasets=(dataset.pk,))
    names = [
        services.job_submit(actor=alice, draft=draft, start=False).instance.name for _ in range(3)
    ]
    base = "Qwen2.5-7B-Instruct · faq.jsonl"
    assert names == [base, f"{base} 2", f"{base} 3"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"arguments": {"lora_rnk": 4}}, "arguments.lora_rnk"),
        ({"arguments": {"lora_ran": 4}}, "arguments.lora_ran"),
        ({"arguments": {"learning_rate": "fast"}}, "arguments.learning_rate"),
        ({"arguments": {"output_dir": "/x"}}, "arguments.output_dir"),
        ({"arguments": {"hub_token": "x"}}, "arguments.hub_token"),
        ({"arguments": {"model": "x/y"}}, "arguments.model"),
        ({"arguments": {"dataset": ["/etc/passwd"]}}, "arguments.dataset"),
        ({"model": ""}, "model"),
        ({"model": "a\0b"}, "model"),
        ({"model": "x" * 501}, "model"),
        ({"model_hub": "elsewhere"}, "model_hub"),
        ({"model_type": "no_such_type"}, "model_type"),
        ({"template": "no_such_template"}, "template"),
        ({"datasets": ()}, "datasets"),
        ({"datasets": (999_999,)}, "datasets"),
        ({"command": "rm -rf"}, "command"),
        ({"gpus": 0}, "gpus"),
        ({"gpus": 100_000}, "gpus"),
        ({"processes": 2}, "processes"),
        ({"processes": 0}, "processes"),
        ({"node": "nowhere"}, "node"),
        ({"gpu_uuids": ("GPU-none",)}, "gpu_uuids"),
        ({"gpu_uuids": ("GPU-big-0", "GPU-big-0")}, "gpu_uuids"),
        ({"gpu_uuids": ("GPU-big-0", "GPU-small-0")}, "gpu_uuids"),
        ({"node": "small", "gpu_uuids": ("GPU-big-0",)}, "gpu_uuids"),
        ({"node": "small", "gpus": 2}, "gpus"),
        ({"gpus": 5}, "gpus"),
        ({"node": "fresh"}, "node"),
        ({"priority": 1}, "priority"),
        ({"priority": -101}, "priority"),
        ({"name": "x" * 121}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"tags": ("x" * 41,)}, "tags"),
        ({"tags": tuple("abcdefghijklmnopqrstuvwxyz")}, "tags"),
        ({"notes": "a\0"}, "notes"),
    ],
)
def test_a_fault_is_told_under_its_field(alice: User, changes: dict[str, Any], field: str) -> None:
    OnlineNodeFactory.create(name="big", gpus=4)
    OnlineNodeFactory.create(name="small", gpus=1)
    OnlineNodeFactory.create(name="fresh")
    found = fields_of(alice, draft_for(alice, **changes))
    assert set(found) == {field}
    assert all(len(text) > 10 for text in found[field])


def test_all_faults_are_told_at_once(alice: User) -> None:
    draft = JobDraft(
        command="sft", arguments={"lora_rank": 0, "nope": 1}, gpu_uuids=("x",), node="nowhere"
    )
    assert set(fields_of(alice, draft)) == {
        "arguments.lora_rank", "arguments.nope", "gpu_uuids", "node", "model", "datasets",
    }  # fmt: skip


def test_gpu_arguments_are_refused_where_only_cpu_slots_are(alice: User) -> None:
    OnlineNodeFactory.create(name="cpu", cpu_slots=2)
    found = fields_of(alice, draft_for(alice, arguments={"attn_impl": "flash_attn"}))
    assert set(found) == {"arguments.attn_impl"}


def test_named_gpus_decide_number_and_node(alice: User) -> None:
    big = OnlineNodeFactory.create(name="big", gpus=4)
    draft = draft_for(alice, gpu_uuids=("GPU-big-1", "GPU-big-2"), processes=2)
    instance = services.job_submit(actor=alice, draft=draft, start=True).instance
    assert (instance.gpus, instance.processes, instance.wanted_node) == (2, 2, big)
    assert instance.wanted_devices == ["GPU-big-1", "GPU-big-2"]


def test_others_datasets_are_as_good_as_absent(alice: User, bob: User) -> None:
    dataset = ReadyDatasetFactory.create(owner=bob)
    foreign = fields_of(alice, draft_for(alice, datasets=(dataset.pk,)))
    absent = fields_of(alice, draft_for(alice, datasets=(dataset.pk + 1,)))
    assert [text.replace(str(dataset.pk + 1), str(dataset.pk)) for text in absent["datasets"]] == (
        foreign["datasets"]
    )


def test_an_operator_sees_a_dataset_but_may_not_train_on_it(alice: User, olga: User) -> None:
    dataset = ReadyDatasetFactory.create(owner=alice, name="private")
    found = fields_of(olga, draft_for(olga, datasets=(dataset.pk,)))
    assert "private" in found["datasets"][0]


def test_a_shared_dataset_may_be_trained_on(alice: User, bob: User) -> None:
    dataset = ReadyDatasetFactory.create(owner=bob)
    sharing.share_grant(actor=bob, row=dataset, codename="use_dataset", username="alice")
    job = services.job_submit(
        actor=alice, draft=draft_for(alice, datasets=(dataset.pk,)), start=True
    )
    assert [row.dataset for row in job.job_datasets.all()] == [dataset]


@pytest.mark.parametrize("changes", [{"state": DatasetState.INVALID}, {"row_format": "text"}])
def test_an_unfit_dataset_is_refused(alice: User, changes: dict[str, Any]) -> None:
    dataset = ReadyDatasetFactory.create(owner=alice, **changes)
    assert set(fields_of(alice, draft_for(alice, datasets=(dataset.pk,)))) == {"datasets"}


def test_plain_text_is_right_for_pre_training(alice: User) -> None:
    dataset = ReadyDatasetFactory.create(owner=alice, row_format="text")
    draft = draft_for(alice, command="pt", datasets=(dataset.pk,))
    job = services.job_submit(actor=alice, draft=draft, start=True)
    assert job.argv[1] == "swift.cli.pt"


def test_viewers_submit_nothing(vera: User) -> None:
    with pytest.raises(Denied):
        services.job_submit(actor=vera, draft=draft_for(vera), start=True)


def test_operators_raise_the_priority(olga: User) -> None:
    draft = draft_for(olga, priority=5)
    assert services.job_submit(actor=olga, draft=draft, start=True).instance.priority == 5


def test_one_key_one_job(alice: User, bob: User) -> None:
    draft = draft_for(alice)
    first, made = services.job_submit_once(
        actor=alice, draft=draft, start=True, idempotency_key="k"
    )
    again, made_again = services.job_submit_once(
        actor=alice, draft=draft, start=True, idempotency_key="k"
    )
    assert (made, made_again, again) == (True, False, first)
    with pytest.raises(Conflict, match="another request"):
        services.job_submit(actor=alice, draft=draft, start=False, idempotency_key="k")
    # a key is its sender's own
    other = services.job_submit(actor=bob, draft=draft_for(bob), start=True, idempotency_key="k")
    assert other != first


def test_the_key_of_a_deleted_job_is_gone(alice: User) -> None:
    draft = draft_for(alice)
    job = services.job_submit(actor=alice, draft=draft, start=False, idempotency_key="k")
    services.job_delete(actor=alice, job=job)
    with pytest.raises(Gone):
        services.job_submit(actor=alice, draft=draft, start=False, idempotency_key="k")


def test_the_api_answers_201_then_200(alice: User, client_of: ClientOf) -> None:
    dataset = ReadyDatasetFactory.create(owner=alice)
    body = {"model": MODEL, "datasets": [dataset.pk], "arguments": {"lora_rank": 8}}
    client = client_of(alice)
    answers = [
        client.post("/api/v1/jobs/", body, headers={"Idempotency-Key": "k"}) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json() == answers[1].json()
    made = answers[0].json()
    assert (made["state"], made["state_label"], made["progress"]) == ("queued", "Queued", 0)
    assert made["created_at"].endswith("Z")
    assert made["datasets"][0]["sha256"] == dataset.sha256
    assert made["allowed"] == ["view", "download", "change", "share"]
    other = client.post("/api/v1/jobs/", {**body, "gpus": 2}, headers={"Idempotency-Key": "k"})
    assert (other.status_code, error_of(other)["id"]) == (409, "training:key_reused")


def test_a_draft_can_be_changed_until_it_is_started(alice: User, client_of: ClientOf) -> None:
    job = services.job_submit(actor=alice, draft=draft_for(alice, notes="n"), start=False)
    seed, name = job.seed, job.instance.name
    dataset = ReadyDatasetFactory.create(owner=alice)
    body = {"model": MODEL, "datasets": [dataset.pk], "arguments": {"lora_rank": 32}, "gpus": 2}
    client = client_of(alice)
    answer = client.put(f"/api/v1/jobs/{job.pk}/", body)
    assert answer.status_code == 200, answer.json()
    changed = answer.json()
    assert (changed["gpus"], changed["seed"], changed["name"]) == (2, seed, name)
    assert changed["argv"][changed["argv"].index("--lora_rank") + 1] == "32"
    assert [one["id"] for one in changed["datasets"]] == [dataset.pk]
    bad = client.put(f"/api/v1/jobs/{job.pk}/", {**body, "arguments": {"lora_rank": -1}})
    assert set(error_of(bad)["fields"]) == {"arguments.lora_rank"}
    assert client.post(f"/api/v1/jobs/{job.pk}/start/").json()["state"] == "queued"
    late = client.put(f"/api/v1/jobs/{job.pk}/", body)
    assert (late.status_code, error_of(late)["id"]) == (409, "training:not_a_draft")


def test_a_preview_stores_nothing_and_tells_all(alice: User, client_of: ClientOf) -> None:
    dataset = ReadyDatasetFactory.create(owner=alice)
    body = {
        "model": MODEL,
        "datasets": [dataset.pk],
        "gpus": 2,
        "processes": 2,
        "arguments": {
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 8,
            "system": "It's a test; $(rm -rf)",
            "lora_rank": "many",
        },
    }
    found = client_of(alice).post("/api/v1/swift/preview/", body).json()
    assert [one["field"] for one in found["problems"]] == ["arguments.lora_rank"]
    assert found["effective_batch_size"] == 64
    assert (found["model_type"], found["template"]) == ("qwen2", "qwen2_5")
    assert "--system" in found["argv"]
    assert """'It'"'"'s a test; $(rm -rf)'""" in found["command_line"]
    assert "lora_rank" not in found["config_yaml"]
    assert not Job.objects.exists()


def test_a_clone_is_a_draft_of_ones_own(alice: User, bob: User) -> None:
    source = services.job_submit(
        actor=alice, draft=draft_for(alice, arguments={"lora_rank": 4}), start=True
    )
    services.job_share(actor=alice, job=source, username="bob")
    clone = services.job_clone(actor=bob, job=source)
    assert (clone.instance.owner, clone.instance.state) == (bob, State.DRAFT)
    assert (clone.arguments, clone.parent) == ({"lora_rank": 4}, source)
    # alice shared the job, not her dataset
    assert not clone.job_datasets.exists()
    with pytest.raises(Invalid) as caught:
        services.job_start(actor=bob, job=clone)
    assert set(caught.value.fields) == {"datasets"}


def test_ones_own_clone_starts(alice: User) -> None:
    source = services.job_submit(actor=alice, draft=draft_for(alice), start=True)
    clone = services.job_clone(actor=alice, job=source)
    services.job_start(actor=alice, job=clone)
    assert clone.instance.state == State.QUEUED
    assert clone.argv == source.argv


def test_starting_judges_again(alice: User) -> None:
    dataset = ReadyDatasetFactory.create(owner=alice)
    draft = draft_for(alice, datasets=(dataset.pk,))
    job = services.job_submit(actor=alice, draft=draft, start=False)
    Dataset.objects.update(state=DatasetState.INVALID)
    with pytest.raises(Invalid):
        services.job_start(actor=alice, job=job)
    assert Instance.objects.get(pk=job.pk).state == State.DRAFT


def test_deleting_asks_about_files(alice: User, client_of: ClientOf) -> None:
    node = OnlineNodeFactory.create(gpus=1)
    job = JobFactory.create(owner=alice, state=State.FAILED, instance__attempt=1)
    job.instance.attempts.create(number=1, node=node)
    client = client_of(alice)
    address = f"/api/v1/jobs/{job.pk}/"
    asked = client.delete(address)
    assert (asked.status_code, error_of(asked)["id"]) == (400, "training:files_undecided")
    assert client.delete(f"{address}?files=perhaps").status_code == 400
    assert client.delete(f"{address}?files=false").status_code == 204
    assert client.get(address).status_code == 404


def test_without_files_nothing_is_asked(alice: User, client_of: ClientOf) -> None:
    job = JobFactory.create(owner=alice)
    assert client_of(alice).delete(f"/api/v1/jobs/{job.pk}/").status_code == 204
