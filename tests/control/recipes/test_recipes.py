"""Recipes: saved, versioned, shared, restored, deleted; the built-in ones hold."""

from typing import Any

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import Group
from django.utils import translation

from loraforge.accounts.models import User
from loraforge.recipes.builtin import builtins_load
from loraforge.recipes.contents import CONTENT_MAX_BYTES, content_made
from loraforge.recipes.models import Recipe
from loraforge.training.drafts import JobDraft
from loraforge.training.models import Command
from loraforge.training.selectors import job_preview
from tests.control.conftest import ClientOf, error_of
from tests.factories.recipes import DRAFT, RecipeFactory
from tests.factories.training import JobDatasetFactory, JobFactory, OnlineNodeFactory, draft_for

pytestmark = pytest.mark.django_db
URL = "/api/v1/recipes/"


@pytest.fixture
def recipe(alice: User) -> Recipe:
    made: Recipe = RecipeFactory.create(owner=alice, name="first")
    return made


def test_a_draft_is_kept_without_what_belongs_to_one_job(client_of: ClientOf, alice: User) -> None:
    draft = {
        **DRAFT, "name": "job", "parent": 3, "weights_from": "1:1:5", "node": "n1", "gpu_uuids": ["a"],
        "arguments": {"learning_rate": "1e-4", "lora_rank": "16"}, "later": {"unheard": "of"}, "datasets": [4],
    }  # fmt: skip
    answer = client_of(alice).post(URL, {"name": " mine ", "description": "why", "draft": draft})
    assert answer.status_code == 201, answer.content
    body = answer.json()
    assert (body["name"], body["version"], body["owner"]) == ("mine", 1, "alice")
    assert body["draft"] == {
        **DRAFT, "arguments": {"learning_rate": 1e-4, "lora_rank": 16}, "later": {"unheard": "of"}, "datasets": [4],
    }  # fmt: skip
    assert (body["catalogue_version"], body["allowed"]) == ("4.6.0", ["view", "change", "share"])


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        ({"command": "rm -rf"}, "command"),
        ({"model": 3}, "model"),
        ({"arguments": []}, "arguments"),
        ({"arguments": {"lora_rank": "many"}}, "arguments.lora_rank"),
        ({"arguments": {"no_such": 1}}, "arguments.no_such"),
        ({"arguments": {"output_dir": "/etc"}}, "arguments.output_dir"),
        ({"datasets": [{"a": 1}]}, "datasets"),
        ({"gpus": "2"}, "gpus"),
        ({"on_node_lost": ["x"]}, "on_node_lost"),
        ({"reward_models": "a/b"}, "reward_models"),
        ({"environment": {"HF_TOKEN": "hf_x"}}, "environment.HF_TOKEN"),
        ({"environment": ["a"]}, "environment"),
    ],
)
def test_what_no_form_could_hold_is_refused(
    client_of: ClientOf, alice: User, draft: dict[str, Any], field: str
) -> None:
    answer = client_of(alice).post(URL, {"name": "x", "draft": draft})
    assert (answer.status_code, list(error_of(answer)["fields"])) == (400, [field])
    assert not Recipe.objects.exists()


def test_a_draft_has_a_bound_and_no_zero_byte(client_of: ClientOf, alice: User) -> None:
    large = {"arguments": {}, "env": {"X": "a" * CONTENT_MAX_BYTES}}
    nul = {"env": {"X": ["a\0b"]}}
    ids = [
        error_of(client_of(alice).post(URL, {"name": "x", "draft": one}))["id"]
        for one in (large, nul)
    ]
    assert ids == ["recipes:too_large", "recipes:zero_byte"]


def test_incomplete_together_is_no_fault_of_a_recipe() -> None:
    """Whether it could start is asked when a job is made of it."""
    kept = content_made({"arguments": {"packing": True}})
    assert kept == {"command": "sft", "model": "", "arguments": {"packing": True}}


def test_each_save_is_a_version_and_old_ones_come_back(
    client_of: ClientOf, alice: User, recipe: Recipe
) -> None:
    client, address = client_of(alice), f"{URL}{recipe.pk}/"
    second = {**DRAFT, "model": "Qwen/Qwen3-8B", "arguments": {"lora_rank": 64}}
    done = client.patch(address, {"draft": second, "note": "larger", "base_version": 1})
    assert (done.status_code, done.json()["version"], done.json()["model"]) == (
        200, 2, "Qwen/Qwen3-8B",
    )  # fmt: skip
    late = client.patch(address, {"draft": DRAFT, "base_version": 1})
    assert (late.status_code, error_of(late)["id"]) == (409, "recipes:changed")
    renamed = client.patch(address, {"name": "other"}).json()
    assert (renamed["name"], renamed["version"]) == ("other", 2)

    back = client.post(f"{address}versions/", {"restore": 1})
    assert (back.status_code, back.json()["version"]) == (201, 3)
    assert back.json()["draft"] == client.get(f"{address}versions/1/").json()["draft"] == DRAFT
    rows = client.get(f"{address}versions/").json()["results"]
    assert [(row["number"], row["author"]) for row in rows] == [
        (3, "alice"), (2, "alice"), (1, "alice"),
    ]  # fmt: skip
    assert error_of(client.post(f"{address}versions/", {"restore": 3}))["id"] == "recipes:is_newest"
    assert client.post(f"{address}versions/", {"restore": 9}).status_code == 404
    said = LogEntry.objects.get_for_object(recipe).filter(additional_data__what="recipes:version")
    assert [entry.changes_dict["version"] for entry in said.order_by("pk")] == [[1, 2], [2, 3]]


def test_another_persons_recipe_does_not_exist(
    client_of: ClientOf, bob: User, vera: User, recipe: Recipe
) -> None:
    for person in (bob, vera):
        client = client_of(person)
        assert client.get(f"{URL}{recipe.pk}/").status_code == 404
        assert client.patch(f"{URL}{recipe.pk}/", {"name": "x"}).status_code == 404
        assert client.get(URL).json()["count"] == 0
    assert client_of(vera).post(URL, {"name": "x", "draft": DRAFT}).status_code == 403


def test_shared_with_a_person_and_with_a_group(
    client_of: ClientOf, alice: User, bob: User, vera: User, recipe: Recipe
) -> None:
    team = Group.objects.create(name="team")
    for person in (alice, vera):
        person.groups.add(team)
    Group.objects.create(name="others")
    shares = f"{URL}{recipe.pk}/shares/"
    owner = client_of(alice)
    assert owner.post(shares, {"user": "bob"}).json() == {"kind": "user", "name": "bob"}
    assert owner.post(shares, {"group": "team"}).status_code == 201
    assert error_of(owner.post(shares, {"group": "others"}))["id"] == "accounts:unknown_group"
    assert error_of(owner.post(shares, {}))["id"] == "recipes:share_with"
    assert [row["name"] for row in owner.get(shares).json()["results"]] == ["bob", "team"]
    for person in (bob, vera):
        client = client_of(person)
        seen = client.get(f"{URL}{recipe.pk}/").json()
        assert (seen["allowed"], client.get(URL).json()["count"]) == (["view"], 1)
        assert client.patch(f"{URL}{recipe.pk}/", {"name": "x"}).status_code == 403
        assert client.post(f"{URL}{recipe.pk}/versions/", {"restore": 1}).status_code == 403
        assert client.get(shares).status_code == 403
    assert owner.delete(f"{shares}?group=team").status_code == 204
    assert owner.delete(f"{shares}?group=team").status_code == 404
    assert client_of(vera).get(f"{URL}{recipe.pk}/").status_code == 404
    assert client_of(bob).get(f"{URL}{recipe.pk}/").status_code == 200


def test_a_deleted_recipe_is_gone_and_stays_for_the_audit(
    client_of: ClientOf, alice: User, recipe: Recipe
) -> None:
    client = client_of(alice)
    assert client.delete(f"{URL}{recipe.pk}/").status_code == 204
    assert client.get(f"{URL}{recipe.pk}/").status_code == 404
    assert client.get(URL).json()["count"] == 0
    recipe.refresh_from_db()
    assert recipe.deleted_at is not None


def test_the_search_takes_every_word(client_of: ClientOf, alice: User, recipe: Recipe) -> None:
    RecipeFactory.create(owner=alice, name="second", model="Qwen/Qwen3-8B")
    found = client_of(alice).get(URL, {"search": "second qwen3"}).json()["results"]
    assert [row["name"] for row in found] == ["second"]


def test_a_jobs_settings_become_a_recipe(client_of: ClientOf, alice: User, bob: User) -> None:
    job = JobFactory.create(owner=alice, arguments={"lora_rank": 4})
    dataset = JobDatasetFactory.create(job=job).dataset
    address = f"/api/v1/jobs/{job.pk}/recipe/"
    assert client_of(bob).post(address, {"name": "stolen"}).status_code == 404
    drafts = []
    for datasets in (False, True):
        made = client_of(alice).post(address, {"name": "kept", "with_datasets": datasets})
        assert made.status_code == 201, made.content
        drafts.append(client_of(alice).get(f"{URL}{made.json()['id']}/").json()["draft"])
    assert [draft["datasets"] for draft in drafts] == [[], [dataset.pk]]
    assert (drafts[0]["model"], drafts[0]["arguments"]) == (job.model, {"lora_rank": 4})
    assert not {"name", "node", "parent"} & drafts[0].keys()


@pytest.mark.parametrize("builtin", builtins_load(), ids=lambda one: one.id)
def test_a_built_in_recipe_could_start_with_a_dataset(builtin: Any, alice: User) -> None:
    OnlineNodeFactory.create(gpus=2)
    assert content_made(builtin.draft) == builtin.draft
    assert builtin.draft["command"] in Command.values
    draft = draft_for(alice, **builtin.draft)
    preview = job_preview(user=alice, draft=draft)
    assert (preview.problems, preview.warnings) == ([], [])
    assert preview.model_type
    assert preview.template
    assert preview.argv[1] == f"swift.cli.{builtin.draft['command']}"
    assert isinstance(draft, JobDraft)
    texts = (builtin.name, builtin.description)
    assert all(words.en and words.zh for words in texts)
    assert builtin.description.en != builtin.description.zh


def test_built_in_recipes_are_told_in_the_language_of_who_asks(
    client_of: ClientOf, vera: User
) -> None:
    client = client_of(vera)
    with translation.override("zh-hans"):
        rows = client.get(f"{URL}builtin/", headers={"Accept-Language": "zh-hans"}).json()
    assert len(rows) == len(builtins_load())
    assert len({row["id"] for row in rows}) == len(rows)
    assert any("微调" in row["description"] or "显存" in row["description"] for row in rows)
    found = client.get(f"{URL}builtin/", {"search": "qwen3 32b qlora"}).json()
    assert [row["id"] for row in found] == ["qwen3-32b-qlora"]
