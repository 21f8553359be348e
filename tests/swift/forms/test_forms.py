"""The forms' tables: every name is one of the catalogue's, every condition can hold and can fail."""

import pytest

from loraforge.swift.argument_help import help_load, sections_load
from loraforge.swift.catalogue import catalogue_load
from loraforge.swift.forms.modules import (
    command_of,
    fields_load,
    first_screen,
    groups_load,
    module_of,
    modules_load,
)
from loraforge.swift.forms.visibility import (
    conditions_load,
    conditions_within,
    deciding,
    is_shown,
    without_effect,
)

CATALOGUE = catalogue_load()
NAMES = {name for command in CATALOGUE.commands.values() for name in command.arguments}


def test_every_name_is_one_of_the_catalogue() -> None:
    stored = conditions_load()
    asked = {
        name
        for condition in (*stored.arguments.values(), *stored.sections.values())
        for alternative in condition
        for name in alternative
    }
    assert set(fields_load()) <= NAMES
    assert set(stored.arguments) <= NAMES
    assert asked - {"command"} <= NAMES
    assert set(stored.sections) <= {section.id for section in sections_load()}


def test_every_field_belongs_to_a_group_and_every_group_to_a_module() -> None:
    groups = groups_load()
    assert {name for group in groups.values() for name in group.fields} == set(fields_load())
    used = {name for module in modules_load().values() for name in module.groups}
    assert used == set(groups)


@pytest.mark.parametrize("module_id", list(modules_load()))
def test_a_module_shows_no_field_twice_and_only_what_its_command_has(module_id: str) -> None:
    module = modules_load()[module_id]
    shown = first_screen(module)
    assert len(shown) == len(set(shown)) > 0
    assert set(shown) <= set(command_of(module).arguments)


def choices_of(name: str) -> set[object]:
    """What any command takes for it."""
    known = (command.argument(name) for command in CATALOGUE.commands.values())
    return {choice for one in known if one and one.choices for choice in one.choices}


def test_labels_differ_from_names_and_conditions_from_values_that_nobody_can_choose() -> None:
    for name, field in fields_load().items():
        assert field.label.en != name
        assert field.label.zh
        if choices_of(name):
            assert {value for value, _said in field.options} <= set(map(str, choices_of(name)))
    for condition in conditions_load().arguments.values():
        for name, values in ((n, v) for alternative in condition for n, v in alternative.items()):
            if choices_of(name):
                assert set(values) <= choices_of(name) | {"*"}, name
            elif name == "tuner_type":
                assert set(values) <= set(CATALOGUE.registries["tuner_type"])


def test_a_module_is_found_by_its_command() -> None:
    found = {
        (command, kind): module_of(command, {"rlhf_type": kind} if kind else {})
        for command, kind in (("sft", ""), ("rlhf", "dpo"), ("rlhf", "grpo"), ("rollout", ""))
    }
    assert [one and one.id for one in found.values()] == ["sft", "rlhf", "grpo", None]


@pytest.mark.parametrize(
    ("command", "given", "shown", "hidden"),
    [
        ("sft", {},
         "lora_rank max_length packing",
         "adalora_beta1 freeze_parameters num_labels bnb_4bit_quant_type temperature"),
        ("sft", {"tuner_type": "full"},
         "freeze_parameters use_galore",
         "lora_rank target_modules galore_rank"),
        ("sft", {"tuner_type": "full", "use_galore": True}, "galore_rank", "galore_proj_bits"),
        ("sft", {"tuner_type": "adalora"}, "adalora_beta1 lora_rank", "use_dora"),
        ("sft", {"quant_method": "bnb"}, "quant_bits bnb_4bit_quant_type", "hqq_axis"),
        ("sft", {"report_to": ["swanlab"]}, "swanlab_project", "trackio_space_id"),
        ("rlhf", {},
         "beta rpo_alpha label_smoothing",
         "cpo_alpha kl_coef num_generations temperature ref_model reward_model teacher_model"),
        ("rlhf", {"tuner_type": "full"}, "ref_model", "reward_model"),
        ("rlhf", {"rlhf_type": "simpo"}, "cpo_alpha simpo_gamma", "rpo_alpha desirable_weight"),
        ("rlhf", {"rlhf_type": "ppo"},
         "kl_coef reward_model max_completion_length",
         "beta teacher_model epsilon"),
        ("rlhf", {"rlhf_type": "gkd"}, "lmbda teacher_model use_vllm", "kl_coef reward_funcs"),
        ("rlhf", {"rlhf_type": "grpo"},
         "reward_funcs epsilon use_vllm",
         "vllm_mode cosine_max_len sleep_level tau_pos"),
        ("rlhf", {"rlhf_type": "grpo", "use_vllm": True, "vllm_mode": "server"},
         "vllm_server_host",
         "vllm_max_model_len"),
        ("rlhf", {"rlhf_type": "grpo", "use_vllm": True, "vllm_mode": "colocate"},
         "vllm_max_model_len sleep_level",
         "vllm_server_host"),
        ("rlhf", {"rlhf_type": "grpo", "reward_funcs": ["format", "cosine"]},
         "cosine_max_len",
         "soft_max_length"),
        ("infer", {}, "temperature max_batch_size", "vllm_max_model_len lmdeploy_tp"),
        ("infer", {"infer_backend": "vllm"}, "vllm_max_model_len", "max_batch_size"),
        ("export", {}, "merge_lora quant_method", "quant_bits template_mode hub_model_id"),
        ("export", {"quant_method": "gptq"}, "quant_bits quant_n_samples", "bnb_4bit_quant_type"),
        ("eval", {}, "eval_dataset eval_limit", "vllm_max_model_len"),
    ],
)  # fmt: skip
def test_only_what_has_an_effect_is_shown(
    command: str, given: dict[str, object], shown: str, hidden: str
) -> None:
    known = CATALOGUE.commands[command]
    for name in shown.split():
        assert is_shown(name, command=known, given=given), name
    for name in hidden.split():
        assert not is_shown(name, command=known, given=given), name


def test_what_has_no_effect_is_named() -> None:
    known = CATALOGUE.commands["sft"]
    given = {"tuner_type": "full", "lora_rank": 8, "max_length": 9, "galore_rank": 1}
    assert set(without_effect(command=known, given=given)) == {"lora_rank", "galore_rank"}


@pytest.mark.parametrize("module_id", list(modules_load()))
def test_what_is_sent_to_a_page_of_one_command_decides_the_same(module_id: str) -> None:
    """The page knows the command's own conditions and the defaults of what decides, nothing else."""
    command = command_of(modules_load()[module_id])
    defaults = deciding(command)
    for name in help_load():
        if name not in command.arguments:
            continue
        for condition in conditions_within(name, command.name):
            asked = {one for alternative in condition for one in alternative}
            assert asked & command.arguments.keys() <= set(defaults), name
