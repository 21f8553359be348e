"""`swift/parse/` and `environment`: a pasted text as one's own draft; variables kept, frozen and shown."""

from typing import Any

import pytest

from loraforge.accounts.models import User
from loraforge.training.models import Job
from loraforge.training.services import job_clone
from tests.control.conftest import ClientOf, error_of
from tests.factories.training import MODEL, ReadyDatasetFactory

pytestmark = pytest.mark.django_db

PARSE = "/api/v1/swift/parse/"


def test_datasets_are_found_by_name_among_ones_own(
    alice: User, bob: User, client_of: ClientOf
) -> None:
    mine = ReadyDatasetFactory.create(owner=alice, name="faq.jsonl")
    ReadyDatasetFactory.create(owner=bob, name="theirs.jsonl")
    text = (
        "swift sft --dataset /data/x/faq.jsonl#500 /data/theirs.jsonl a/b --val_dataset faq.jsonl"
    )
    body = client_of(alice).post(PARSE, {"text": text}).json()
    assert (body["module"], body["command"]) == ("sft", "sft")
    assert (body["datasets"], body["validation_datasets"]) == ([mine.pk], [mine.pk])
    assert body["remote_datasets"] == ["a/b"]
    assert [one["field"] for one in body["problems"]] == ["datasets"]
    assert "theirs.jsonl" in body["problems"][0]["text"]


def test_problems_stand_at_their_fields(alice: User, client_of: ClientOf) -> None:
    text = "FOO=1 swift rlhf --rlhf_type grpo --output_dir x --lora_ran 3 --train_type full --model /lf/model"
    body = client_of(alice).post(PARSE, {"text": text}).json()
    assert body["module"] == "grpo"
    assert body["arguments"] == {"rlhf_type": "grpo", "tuner_type": "full"}
    fields = [one["field"] for one in body["problems"]]
    assert fields == ["model", "arguments.output_dir", "arguments.lora_ran"]
    assert [one["field"] for one in body["warnings"]] == ["arguments.train_type", "environment"]


def test_what_a_preview_exports_is_read_back(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    dataset = ReadyDatasetFactory.create(owner=alice, name="faq.jsonl")
    draft: dict[str, Any] = {
        "model": MODEL, "datasets": [dataset.pk], "command": "pt",
        "arguments": {"lora_rank": 16, "system": "“x”\n# y", "target_modules": ["q_proj", "v_proj"]},
        "environment": {"MAX_PIXELS": 1003520},
    }  # fmt: skip
    preview = client.post("/api/v1/swift/preview/", draft).json()
    assert preview["command_line"].startswith("MAX_PIXELS=1003520 \\\n  python")
    assert 'ENV:\n  MAX_PIXELS: "1003520"\n' in preview["config_yaml"]
    wanted = {**draft, "environment": {"MAX_PIXELS": "1003520"}}
    for name in ("config_json", "config_yaml"):
        body = client.post(PARSE, {"text": preview[name]}).json()
        assert body["arguments"].items() >= draft["arguments"].items()
        assert (body["command"], body["environment"]) == ("pt", wanted["environment"])
        if name == "config_json":
            assert {key: body[key] for key in wanted} == wanted


def test_variables_are_frozen_shown_and_copied(alice: User, client_of: ClientOf) -> None:
    dataset = ReadyDatasetFactory.create(owner=alice)
    body = {"model": MODEL, "datasets": [dataset.pk], "environment": {"NCCL_DEBUG": "INFO"}}
    made = client_of(alice).post("/api/v1/jobs/", body)
    assert made.status_code == 201, made.json()
    assert made.json()["environment"] == {"NCCL_DEBUG": "INFO"}
    job = Job.objects.get(pk=made.json()["id"])
    assert job.env["NCCL_DEBUG"] == "INFO"
    assert job.env["CB_EVENTS"]
    assert job_clone(actor=alice, job=job).environment == {"NCCL_DEBUG": "INFO"}


def test_other_variables_are_refused_at_their_fields(alice: User, client_of: ClientOf) -> None:
    dataset = ReadyDatasetFactory.create(owner=alice)
    hostile = {"LD_PRELOAD": "/x", "MAX_PIXELS": "many", "CB_EVENTS": "/x"}
    body = {"model": MODEL, "datasets": [dataset.pk], "environment": hostile}
    error = error_of(client_of(alice).post("/api/v1/jobs/", body))
    assert set(error["fields"]) == {f"environment.{name}" for name in hostile}


def test_the_list_of_variables_is_told_in_the_readers_language(
    alice: User, client_of: ClientOf
) -> None:
    rows = client_of(alice).get("/api/v1/swift/environment/").json()["variables"]
    named = {row["name"]: row for row in rows}
    assert named["MAX_PIXELS"]["minimum"] == 196
    assert named["NCCL_DEBUG"]["choices"] == ["VERSION", "WARN", "INFO", "TRACE"]
