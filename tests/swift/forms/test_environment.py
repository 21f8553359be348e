"""Variables that a job may be given: typed, bounded, and never the platform's."""

import re

import pytest

from loraforge.swift.compiler import PlatformArguments, compile_env
from loraforge.swift.forms.environment import GROUPS, environment_check, variables_load

# What node, runtimes and container policies set, and what changes which program runs.
TAKEN = re.compile(
    r"CB_.*|LF_.*|LORAFORGE.*|LD_.*|PYTHON.*|PATH|HOME|TMPDIR|XDG_.*|HF_.*|MODELSCOPE_.*|USE_HF|NVIDIA_.*"
    r"|CUDA_VISIBLE_DEVICES|NPROC_PER_NODE|NNODES|NODE_RANK|MASTER_.*|RANK|WORLD_SIZE|.*_NUM_THREADS"
    r"|.*(TOKEN|KEY|SECRET|PASSWORD|PROXY)|SWIFT_.*|TRITON_.*|.*_DIR|.*_PATH|.*_URL|.*_URI|TOKENIZERS_.*"
)


def test_none_is_one_that_the_platform_sets() -> None:
    names = set(variables_load())
    assert [name for name in names if TAKEN.fullmatch(name)] == []
    assert names.isdisjoint(compile_env({}, platform=PlatformArguments()))


def test_every_variable_is_told_in_both_languages_and_bounded() -> None:
    for name, variable in variables_load().items():
        assert re.fullmatch(r"[A-Z][A-Z0-9_]+", name)
        assert variable.group in GROUPS
        assert variable.help.en, name
        assert variable.help.zh, name
        assert variable.help.en != variable.help.zh, name
        if variable.kind == "text":
            assert re.fullmatch(variable.pattern, variable.example), name
        elif variable.kind == "choice":
            assert len(variable.choices) > 1, name
        else:
            assert variable.ge is not None, name
            assert variable.le is not None, name


def test_right_values_come_out_as_texts_in_the_order_of_the_form() -> None:
    given = {
        "NCCL_DEBUG": "INFO",
        "MAX_PIXELS": 1003520,
        "FPS": 2.5,
        "NFRAMES": " 8 ",
        "FPS_MAX_FRAMES": "",
    }
    values, problems = environment_check({**given, "NUM_FRAMES": None, "USE_AUDIO_IN_VIDEO": True})
    assert problems == []
    assert list(values.items()) == [
        ("MAX_PIXELS", "1003520"), ("FPS", "2.5"), ("NFRAMES", "8"), ("USE_AUDIO_IN_VIDEO", "true"),
        ("NCCL_DEBUG", "INFO"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("LD_PRELOAD", "/x.so", "environment_unknown"),
        ("CUDA_VISIBLE_DEVICES", "0", "environment_unknown"),
        ("HF_TOKEN", "hf_x", "environment_unknown"),
        ("max_pixels", "1000", "environment_unknown"),
        ("MAX_PIXELS", "1e6", "environment_number"),
        ("MAX_PIXELS", "-5", "environment_number"),
        ("MAX_PIXELS", "\u0661\u0660\u0660\u0660", "environment_number"),
        ("MAX_PIXELS", [1000], "environment_number"),
        ("FPS", float("nan"), "environment_number"),
        ("FPS", float("inf"), "environment_number"),
        ("NCCL_DEBUG", "info", "environment_choice"),
        ("NCCL_SOCKET_IFNAME", "eth0\nLD_PRELOAD=/x", "environment_text"),
        ("NCCL_SOCKET_IFNAME", "eth0;reboot", "environment_text"),
        ("PYTORCH_CUDA_ALLOC_CONF", "$(reboot):x", "environment_text"),
        ("WANDB_PROJECT", "--x", "environment_text"),
        ("WANDB_PROJECT", "a\0b", "environment_text"),
    ],
)
def test_anything_else_is_refused_with_its_name(name: str, value: object, reason: str) -> None:
    values, problems = environment_check({name: value})
    assert values == {}
    assert [(one.field, one.id) for one in problems] == [(name, f"swift:{reason}")]
