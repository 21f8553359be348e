"""Every input and button of SWIFT's web UI has its place: in form and API, or in docs/webui.md with its reason."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from loraforge.swift.argument_help import help_load
from loraforge.swift.catalogue import catalogue_load
from loraforge.swift.forms.modules import command_of, first_screen, modules_load
from loraforge.swift.forms.visibility import is_shown
from loraforge.swift.reserved import OWN_FIELDS, reserved_reason

WEBUI: dict[str, Any] = json.loads((Path(__file__).parent / "webui.json").read_text())
MODULES: dict[str, Any] = WEBUI["modules"]
PAGE = (Path(__file__).parents[3] / "docs" / "webui.md").read_text()


def told(title: str) -> set[str]:
    """The names in the first column of a section's table."""
    section = PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\|([^|]*)\|", section, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_the_counts_are_those_of_the_release() -> None:
    assert sum(len(one["arguments"]) for one in MODULES.values()) == 405
    assert sum(len(one["buttons"]) for one in MODULES.values()) == 61
    assert catalogue_load().swift_version == WEBUI["swift"]


@pytest.mark.parametrize("name", list(MODULES))
def test_each_argument_can_be_set_in_form_and_api(name: str) -> None:
    module = modules_load()[MODULES[name]["form"]]
    command = command_of(module)
    elsewhere = told("Inputs that are arguments")
    for argument in MODULES[name]["arguments"]:
        known = command.argument(argument)
        # a rollout server is no job: its port is the platform's, as every other address
        assert known is not None or argument in elsewhere, argument
        has_field = known is not None and reserved_reason(argument, command.name) is None
        assert has_field or argument in elsewhere, argument
        if has_field and argument not in OWN_FIELDS:
            on_first = argument in first_screen(module)
            assert on_first or help_load()[argument].section, argument


@pytest.mark.parametrize("name", list(MODULES))
def test_each_other_input_and_each_button_has_a_counterpart(name: str) -> None:
    assert set(MODULES[name]["others"]) <= told("Other inputs")
    assert set(MODULES[name]["buttons"]) <= told("Buttons")


def test_the_page_names_nothing_that_is_not_there() -> None:
    assert told("Other inputs") == {one for part in MODULES.values() for one in part["others"]}
    assert told("Buttons") == {one for part in MODULES.values() for one in part["buttons"]}
    arguments = {one for part in MODULES.values() for one in part["arguments"]}
    assert told("Inputs that are arguments") <= arguments


SWIFTS = [
    (decides, value, name)
    for decides, tabs in WEBUI["tabs_to_filter"].items()
    if decides in ("tuner_type", "task_type", "rlhf_type", "vllm_mode")
    for value, names in tabs.items()
    for name in names
]
# Where SWIFT's own filter is coarser or wrong: what its sources do, see visibility.json.
FINER = {
    *(
        ("vllm_mode", "llm_rollout", name)
        for name in ("tensor_parallel_size", "data_parallel_size")
    ),
    *(("vllm_mode", "llm_rollout", name) for name in ("max_model_len", "gpu_memory_utilization")),
    ("vllm_mode", "llm_rollout", "port"),
    *(("tuner_type", "lora_ga", name) for _d, value, name in SWIFTS if value == "lora_ga"),
    *(("tuner_type", "lisa", name) for _d, value, name in SWIFTS if value == "lisa"),
}
FULL: dict[str, object] = {"tuner_type": "full"}
WITH_VLLM: dict[str, object] = {"use_vllm": True}
BESIDE: dict[str, dict[str, object]] = {
    "ref_model": FULL,
    "ref_model_type": FULL,
    **{name: WITH_VLLM for decides, _value, name in SWIFTS if decides == "vllm_mode"},
}


@pytest.mark.parametrize(("decides", "value", "name"), sorted(set(SWIFTS) - FINER))
def test_what_swift_shows_for_a_method_is_shown_here(decides: str, value: str, name: str) -> None:
    command = catalogue_load().commands["rlhf"]
    grpo: dict[str, object] = {"rlhf_type": "grpo"} if decides == "vllm_mode" else {}
    given = {**grpo, decides: value, **BESIDE.get(name, {})}
    assert is_shown(name, command=command, given=given), given
