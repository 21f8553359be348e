"""Finding models, and which model type and chat template belong to one."""

import json
from pathlib import Path

import pytest

from loraforge.swift.models import model_name, model_resolve, model_search, models_load


def test_every_registered_model_is_there() -> None:
    registry = models_load()
    assert (len(registry.models), len(registry.model_types), len(registry.templates)) == (
        1193,
        237,
        253,
    )
    assert model_search("").total == 1193


def test_search_takes_words_in_any_case_and_order() -> None:
    found = model_search("7b QWEN2.5 instruct", 50)
    assert found.total > 5
    for model in found.models:
        assert all(
            word in f"{model.ms} {model.hf} {model.type}".lower() for word in ("7b", "qwen2.5")
        )


def test_an_exact_name_comes_first() -> None:
    assert model_search("qwen2.5-7b-instruct", 1).models[0].id == "Qwen/Qwen2.5-7B-Instruct"


def test_pages_neither_repeat_nor_miss() -> None:
    whole = model_search("llama", 1000)
    parts = [model_search("llama", 7, offset).models for offset in range(0, whole.total, 7)]
    assert tuple(model for part in parts for model in part) == whole.models
    assert model_search("llama", 5, 10_000).models == ()


def test_nothing_found() -> None:
    assert model_search("no-such-model-at-all").total == 0


@pytest.mark.parametrize(
    ("model", "model_type", "template"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2", "qwen2_5"),
        ("qwen/qwen2.5-7b-instruct/", "qwen2", "qwen2_5"),
        ("/data/models/Qwen2.5-7B-Instruct", "qwen2", "qwen2_5"),
        ("/x/models--Qwen--Qwen2-7B-Instruct/snapshots/abc", "qwen2", "qwen"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "qwen2", "deepseek_r1"),
    ],
)
def test_a_known_name_is_certain(model: str, model_type: str, template: str) -> None:
    found = model_resolve(model)
    assert (found.model_type, found.template) == (model_type, template)
    assert found.is_certain
    assert found.source == "name"
    assert found.candidate_templates[0] == template


def test_a_folder_is_told_by_its_config_and_marked_as_a_guess() -> None:
    config = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
    found = model_resolve("/srv/demo/model", config=config)
    assert (found.model_type, found.template) == ("qwen2", "qwen2_5")
    assert found.candidate_types == ("qwen2", "qwen2_gte")
    assert "qwen" in found.candidate_templates
    assert not found.is_certain


def test_config_without_architectures_goes_by_its_model_type() -> None:
    assert model_resolve("/srv/model", config={"model_type": "qwen3"}).model_type == "qwen3"


@pytest.mark.parametrize("config", [None, {}, {"architectures": "x"}, {"architectures": [None]}])
def test_an_unknown_folder_has_no_type(config: dict[str, object] | None) -> None:
    found = model_resolve("/srv/somebody's model", config=config)
    assert (found.model_type, found.template, found.candidate_types) == (None, None, ())


def test_names_in_the_hubs_caches() -> None:
    assert model_name("/c/hub/models--Qwen--Qwen2.5-7B/snapshots/abc") == "Qwen2.5-7B"
    assert model_name("/c/models/Qwen--Qwen2.5-7B/snapshots/master") == "Qwen2.5-7B"
    assert model_name("/c/Qwen/Qwen2___5-7B/") == "Qwen2.5-7B"


@pytest.mark.swift
def test_the_demos_model_is_recognised(material: Path) -> None:
    config = json.loads((material / "model" / "config.json").read_text())
    found = model_resolve(str(material / "model"), config=config)
    assert (found.model_type, found.template) == ("qwen2", "qwen2_5")
