"""What differs between two configurations: a pure function, the API, and who may ask."""

from typing import Any

import pytest

from loraforge.accounts.models import User
from loraforge.recipes.comparing import Configuration, configurations_compare
from tests.control.conftest import ClientOf, error_of
from tests.factories.recipes import RecipeFactory
from tests.factories.training import MODEL, JobFactory

URL = "/api/v1/jobs/compare/"


def of(draft: dict[str, Any], version: str = "4.6.0") -> Configuration:
    return Configuration(key="k", label="l", draft=draft, catalogue_version=version)


def differing(left: dict[str, Any], right: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    lines = configurations_compare(of(left), of(right))
    return {one.name: (one.left.value, one.right.value) for one in lines if not one.is_same}


def test_a_value_set_to_the_default_does_not_differ() -> None:
    left = {"command": "sft", "arguments": {"lora_rank": 8, "lora_alpha": 64}, "gpus": 1}
    right = {
        "command": "sft",
        "arguments": {"learning_rate": 1e-4},
        "datasets": [],
        "model_hub": "",
    }
    assert differing(left, right) == {"lora_alpha": (64, 32), "learning_rate": (None, 1e-4)}
    both = {one.name: one for one in configurations_compare(of(left), of(right))}
    assert both["lora_rank"].right.is_default
    assert not both["lora_rank"].left.is_default
    assert "datasets" not in both


def test_what_means_the_same_is_the_same_and_true_is_not_one() -> None:
    left = {"command": "sft", "arguments": {"warmup_steps": 1, "target_modules": ("a", "b")}}
    right = {"command": "sft", "arguments": {"warmup_steps": 1.0, "target_modules": ["a", "b"]}}
    assert differing(left, right) == {}
    assert differing({"arguments": {"x": True}}, {"arguments": {"x": 1}}) == {"x": (True, 1)}


def test_settings_stand_before_arguments_in_swifts_order() -> None:
    left = {
        "command": "sft",
        "model": "a",
        "gpus": 2,
        "arguments": {"lora_alpha": 1, "lora_rank": 2},
    }
    right = {"command": "pt", "model": "b", "arguments": {}}
    assert list(differing(left, right)) == ["command", "model", "gpus", "lora_rank", "lora_alpha"]
    assert differing({}, {"save_every_s": 0}) == {"save_every_s": (None, 0)}


@pytest.mark.django_db
def test_a_job_beside_a_recipe_and_only_for_who_sees_both(
    client_of: ClientOf, alice: User, bob: User
) -> None:
    job = JobFactory.create(owner=alice, arguments={"lora_rank": 16, "max_length": 512})
    recipe = RecipeFactory.create(owner=alice)
    asked: dict[str, str] = {"left": str(job.pk), "right": f"recipe:{recipe.pk}"}
    body = client_of(alice).get(URL, asked).json()
    assert (body["left"]["key"], body["right"]["key"]) == (str(job.pk), f"recipe:{recipe.pk}:1")
    lines = {one["name"]: one for one in body["lines"]}
    assert "lora_rank" not in lines
    assert lines["max_length"]["left"] == {"value": 512, "is_default": False}
    assert lines["max_length"]["right"] == {"value": None, "is_default": True}
    assert body["differences"] == len(lines)
    every = client_of(alice).get(URL, {**asked, "all": "true"}).json()["lines"]
    assert [one["left"]["value"] for one in every if one["name"] == "model"] == [MODEL]
    assert client_of(bob).get(URL, asked).status_code == 404
    builtin = client_of(alice).get(URL, {**asked, "right": "recipe:qwen3-8b-lora"}).json()
    assert builtin["right"]["label"] == "Qwen3 8B · LoRA"


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["x", "recipe:", "recipe:1:x", "recipe:99", "0", "9" * 30, "-1"])
def test_a_key_that_names_nothing_is_said_so(client_of: ClientOf, alice: User, key: str) -> None:
    job = JobFactory.create(owner=alice)
    answer = client_of(alice).get(URL, {"left": job.pk, "right": key})
    assert answer.status_code in {400, 404}
    assert error_of(answer)["id"] in {
        "training:compare_what", "recipes:not_found", "instances:not_found", "training:not_found",
    }  # fmt: skip
