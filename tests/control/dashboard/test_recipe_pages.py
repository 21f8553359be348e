"""Pages of recipes, and the form of a new job as a recipe, a job or a model fills it."""

import json
import re
from typing import Any

import pytest
from django.test import Client

from loraforge.accounts import sharing
from loraforge.accounts.models import User
from loraforge.recipes.services import recipe_update
from loraforge.recipes.unsent import unsent_save
from tests.factories.accounts import UserFactory
from tests.factories.recipes import DRAFT, RecipeFactory
from tests.factories.training import MODEL, JobFactory, ReadyDatasetFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    user: User = UserFactory.create(username="alice")
    return user


def browser_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def form_data(client: Client, query: str) -> dict[str, Any]:
    html = client.get(f"/jobs/new/?{query}").content.decode()
    found = re.search(r'<script id="form-data" type="application/json">(.*?)</script>', html)
    assert found, html[:500]
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_list_has_own_shared_and_built_in_ones(alice: User) -> None:
    bob = UserFactory.create(username="bob")
    RecipeFactory.create(owner=alice, name="own <b>one</b>")
    theirs = RecipeFactory.create(owner=bob, name="shared one")
    RecipeFactory.create(owner=bob, name="secret one")
    sharing.share_grant(actor=bob, row=theirs, codename="use_recipe", username="alice")
    html = browser_of(alice).get("/recipes/").content.decode()
    assert "own &lt;b&gt;one&lt;/b&gt;" in html
    assert "shared one" in html
    assert "secret one" not in html
    assert "/recipes/builtin/qwen3-8b-lora/" in html
    part = browser_of(alice).get("/recipes/?q=shared", headers={"HX-Request": "true"})
    assert b"shared one" in part.content
    assert b"own &lt;" not in part.content


def test_a_recipes_page_marks_what_differs_and_shows_old_versions(alice: User) -> None:
    recipe = RecipeFactory.create(
        owner=alice, draft={**DRAFT, "arguments": {"lora_rank": 8, "lora_alpha": 7}}
    )
    recipe_update(actor=alice, recipe=recipe, draft={**DRAFT, "arguments": {"lora_rank": 99}})
    client = browser_of(alice)
    newest = client.get(f"/recipes/{recipe.pk}/").content.decode()
    assert "Version 2" in newest
    assert ">99<" in newest
    old = client.get(f"/recipes/{recipe.pk}/?version=1").content.decode()
    assert "This is an older version; the newest is 2." in old
    assert old.count(">Changed</span>") == 1
    assert f"/jobs/new/?recipe={recipe.pk}:1" in old
    assert client.get(f"/recipes/{recipe.pk}/?version=7").status_code == 404
    assert client.get("/recipes/builtin/no-such/").status_code == 404


def test_a_recipe_fills_the_form(alice: User) -> None:
    mine = ReadyDatasetFactory.create(owner=alice)
    gone = ReadyDatasetFactory.create()
    draft = {
        **DRAFT, "datasets": [mine.pk, gone.pk], "gpus": 2, "on_node_lost": "explode", "unheard": {"of": 1},
    }  # fmt: skip
    recipe = RecipeFactory.create(owner=alice, name="kept", draft=draft)
    source = form_data(browser_of(alice), f"recipe={recipe.pk}")["source"]
    assert source == {
        **DRAFT,
        "datasets": [mine.pk],
        "gpus": 2,
        "source": f"recipe:{recipe.pk}:1",
        "recipe": {"id": recipe.pk, "name": "kept", "version": 1},
    }


def test_a_shared_recipe_fills_the_form_and_another_persons_does_not(alice: User) -> None:
    bob = UserFactory.create(username="bob")
    recipe = RecipeFactory.create(owner=bob)
    client = browser_of(alice)
    assert client.get(f"/jobs/new/?recipe={recipe.pk}").status_code == 404
    sharing.share_grant(actor=bob, row=recipe, codename="use_recipe", username="alice")
    source = form_data(client, f"recipe={recipe.pk}:1")["source"]
    assert source["model"] == MODEL
    assert "recipe" not in source, "only who may change it saves its next version"


def test_a_built_in_recipe_a_model_and_a_job_fill_it_too(alice: User) -> None:
    client = browser_of(alice)
    built = form_data(client, "recipe=qwen3-8b-qlora")["source"]
    assert (built["model"], built["arguments"]["quant_bits"]) == ("Qwen/Qwen3-8B", 4)
    model = form_data(client, "model=Qwen/Qwen3-0.6B")["source"]
    assert model == {"model": "Qwen/Qwen3-0.6B", "source": "model:Qwen/Qwen3-0.6B"}
    job = JobFactory.create(owner=alice)
    assert form_data(client, f"from={job.pk}")["source"]["parent"] == job.pk
    assert form_data(client, "")["source"] is None


def test_the_form_comes_back_as_it_was_left_for_the_same_source(alice: User) -> None:
    client = browser_of(alice)
    job = JobFactory.create(owner=alice)
    assert form_data(client, "")["unsent"] == {"source": "new", "version": 0}
    source = form_data(client, f"from={job.pk}")["unsent"]["source"]
    draft = {"model": "left", "datasets": [7, "x"], "later": {"unheard": "of"}}
    unsent_save(actor=alice, source=source, draft=draft, version=0, tab="t")
    found = form_data(client, f"from={job.pk}")["unsent"]
    assert (found["version"], found["tab"]) == (1, "t")
    assert found["draft"] == {**draft, "datasets": []}
    assert form_data(client, "")["unsent"]["version"] == 0


def test_two_configurations_beside_each_other(alice: User) -> None:
    client = browser_of(alice)
    dataset = ReadyDatasetFactory.create(owner=alice, name="faq")
    draft = {**DRAFT, "datasets": [dataset.pk], "gpus": 2}
    recipe = RecipeFactory.create(owner=alice, name="a <b>recipe</b>", draft=draft)
    job = JobFactory.create(owner=alice, arguments={"lora_rank": 16, "max_length": 512})
    asked = f"/jobs/compare/?left={job.pk}&right=recipe:{recipe.pk}"
    html = client.get(asked).content.decode()
    assert "a &lt;b&gt;recipe&lt;/b&gt;, version 1" in html
    for shown in ("--max_length", "Training set", ">faq<", "Devices"):
        assert shown in html, shown
    assert "--lora_rank" not in html
    assert "--lora_rank" in client.get(f"{asked}&all=1").content.decode()
    assert client.get("/jobs/compare/").status_code == 200
    assert client.get("/jobs/compare/?left=x").status_code == 400
    stranger = browser_of(UserFactory.create())
    assert stranger.get(asked).status_code == 404


def test_past_settings_are_ones_own_jobs_and_recipes(alice: User) -> None:
    mine = JobFactory.create(owner=alice)
    theirs = JobFactory.create()
    recipe = RecipeFactory.create(owner=alice)
    html = browser_of(alice).get("/jobs/new/past/").content.decode()
    for query in (f"from={mine.pk}", f"recipe={recipe.pk}", "recipe=qwen3-8b-lora"):
        assert f"/jobs/new/?{query}&quot;" in html or f'/jobs/new/?{query}"' in html
    assert f"from={theirs.pk}" not in html


def test_a_job_leads_to_what_it_was_made_from(alice: User) -> None:
    first = JobFactory.create(owner=alice)
    second = JobFactory.create(owner=alice, parent=first)
    html = browser_of(alice).get(f"/jobs/{second.pk}/").content.decode()
    assert f"/jobs/compare/?left={first.pk}&amp;right={second.pk}" in html


def test_models_are_searched_by_words_and_by_a_pasted_address(alice: User) -> None:
    client = browser_of(alice)
    html = client.get("/models/?q=qwen3 vl 8b").content.decode()
    assert "Qwen/Qwen3-VL-8B-Instruct" in html
    assert "Multimodal" in html
    assert "/jobs/new/?model=Qwen/Qwen3-VL-8B-Instruct" in html
    asked = {"q": "https://huggingface.co/Qwen/Qwen3-8B/tree/main"}
    found = client.get("/models/", asked, headers={"HX-Request": "true"})
    assert b"<strong>Qwen/Qwen3-8B</strong>" in found.content
    unknown = client.get("/models/", {"q": "modelscope.cn/models/me/mine"}).content.decode()
    assert "SWIFT does not know me/mine." in unknown
    assert client.get("/models/?page=999").status_code == 200
