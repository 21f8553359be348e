"""What a job has of model hubs is fetched beforehand, and its frozen command says so."""

from typing import Any

import pytest

from loraforge.accounts.models import User
from loraforge.gateway.dispatch import spec_hash
from loraforge.training import services
from loraforge.training.hub import datasets_rewrite, model_fetch, needs_network, needs_secrets
from nodeagent.contract.commands import Start
from tests.factories.training import MODEL, draft_for


def test_datasets_of_hubs_become_places_on_the_node() -> None:
    given: dict[str, Any] = {
        "dataset": [
            "HF::org/one:sub/two#500",
            "org/one",
            "org/two#7",
            "/lf/inputs/a.jsonl",
            "alpaca",
        ],
        "val_dataset": ["ms::org/two:default"],
        "lora_rank": 8,
    }
    rewritten, fetches = datasets_rewrite(given, use_hf=False)
    assert rewritten == {
        "dataset": [
            "/lf/data/0/one:sub/two#500",
            "/lf/data/1/one",
            "/lf/data/2/two#7",
            "/lf/inputs/a.jsonl",
            "alpaca",
        ],
        "val_dataset": ["/lf/data/2/two:default"],
        "lora_rank": 8,
    }
    assert [(one.hub, one.repo, one.target) for one in fetches] == [
        ("huggingface", "org/one", "/lf/data/0/one"),
        ("modelscope", "org/one", "/lf/data/1/one"),
        ("modelscope", "org/two", "/lf/data/2/two"),
    ]
    assert datasets_rewrite({"dataset": ["org/one"]}, use_hf=True)[1][0].hub == "huggingface"


def test_models_of_hubs() -> None:
    assert model_fetch(model="/models/x", hub="") is None
    fetch = model_fetch(model="org/name:sub/deep", hub="huggingface", revision="main")
    assert fetch is not None
    assert (fetch.repo, fetch.subfolder, fetch.revision) == ("org/name", "sub/deep", "main")


@pytest.mark.parametrize(
    ("arguments", "network", "variables"),
    [
        ({}, False, []),
        ({"report_to": ["none"]}, False, []),
        ({"report_to": ["tensorboard"]}, False, []),
        ({"report_to": ["tensorboard", "wandb"]}, True, ["WANDB_API_KEY"]),
        ({"report_to": "swanlab"}, True, ["SWANLAB_API_KEY"]),
        ({"report_to": ["mlflow"]}, True, []),
        ({"push_to_hub": True}, True, ["MODELSCOPE_API_TOKEN"]),
        ({"push_to_hub": True, "use_hf": True}, True, ["HF_TOKEN"]),
    ],
)
def test_network_only_for_who_needs_it(
    arguments: dict[str, object], network: bool, variables: list[str]
) -> None:
    assert needs_network(arguments) is network  # type: ignore[arg-type]
    assert list(needs_secrets(arguments)) == variables  # type: ignore[arg-type]


def test_a_start_without_hubs_keeps_the_hash_of_before() -> None:
    start = Start(id="a", instance=1, attempt=1, argv=["x"], devices=["cpu-0"], spec_hash="")
    assert spec_hash(start) == ("aaf6d73497d791906e7861395a7c41df4748dc8862b0c31716ff1a60056ec646")


@pytest.mark.django_db
def test_a_job_of_a_hub_is_frozen_with_its_fetches(alice: User) -> None:
    draft = draft_for(alice, arguments={"val_dataset": ["HF::org/rows#5"], "model_revision": "v1"})
    job = services.job_submit(actor=alice, draft=draft, start=True)
    job.refresh_from_db()
    assert job.argv[job.argv.index("--model") + 1] == "/lf/model"
    assert job.argv[job.argv.index("--val_dataset") + 1] == "/lf/data/0/rows#5"
    assert (job.model, job.model_hub) == (MODEL, "modelscope")
    assert job.env["HF_HUB_OFFLINE"] == "1"
    model, rows = job.fetches
    assert (model["repo"], model["hub"], model["revision"]) == (MODEL, "modelscope", "v1")
    assert (rows["repo"], rows["hub"], rows["kind"]) == ("org/rows", "huggingface", "dataset")
