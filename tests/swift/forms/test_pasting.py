"""A pasted command or file becomes the fields of a form; what does not fit is named with its reason."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraforge.swift.forms.pasting import LONGEST_TEXT, Pasted, text_parse

COMMAND = r"""
# two cards
NPROC_PER_NODE=2 \
CUDA_VISIBLE_DEVICES=0,1 MAX_PIXELS=1003520 LD_PRELOAD=/x.so \
nohup swift sft \
    --model Qwen/Qwen2.5-7B-Instruct \
    --train_type adalora \
    --dataset 'AI-ModelScope/alpaca#500' \
              "swift/self-cognition#500" \
    --learning-rate 1e-4 --lora_rank 16 --lora_alpha=32 \
    --no_dataset_shuffle --streaming --max_steps 10 --deepspeed $CONFIG \
    --system "You are a 'helpful' a & b" \
    --model_kwargs '{"max_pixels": 9000}' --hub_token hf_x > train.log 2>&1 &
"""


def ids(pasted: Pasted) -> set[tuple[str, str]]:
    return {(one.field, one.id.removeprefix("swift:")) for one in pasted.problems}


def test_a_command_from_a_readme() -> None:
    pasted = text_parse(COMMAND)
    assert pasted.command == "sft"
    assert pasted.model == "Qwen/Qwen2.5-7B-Instruct"
    assert pasted.datasets == ("AI-ModelScope/alpaca#500", "swift/self-cognition#500")
    assert (pasted.processes, pasted.gpus) == (2, 2)
    assert pasted.environment == {"MAX_PIXELS": "1003520"}
    assert pasted.arguments == {
        "learning_rate": 1e-4, "lora_rank": 16, "tuner_type": "adalora", "dataset_shuffle": False,
        "streaming": True, "max_steps": 10, "system": "You are a 'helpful' a & b",
        "model_kwargs": {"max_pixels": 9000},
    }  # fmt: skip
    assert ids(pasted) == {
        ("train_type", "paste_renamed"),
        ("deepspeed", "paste_variable"),
        ("hub_token", "argument_reserved"),
        ("environment", "paste_environment"),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("megatron sft --load x", ("text", "paste_megatron")),
        ("python megatron/swift/cli/sft.py --a b", ("text", "paste_megatron")),
        ("swift frobnicate --a 1", ("command", "command_unknown")),
        ("swift rollout --model m", ("command", "command_unknown")),
        ("swift sft --model 'x", ("text", "paste_quotes")),
        ("swift sft cfg.yaml --lora_rank 4", ("text", "paste_loose")),
        ("swift sft --lora_rank 4 5", ("lora_rank", "paste_words")),
        ("swift sft --lora_ran 4", ("lora_ran", "argument_abbreviated")),
        ("swift sft --lora_rnak 4", ("lora_rnak", "argument_similar")),
        ("swift sft --output_dir ../../x", ("output_dir", "argument_reserved")),
        ("swift sft --external_plugins x.py", ("external_plugins", "argument_reserved")),
        ("swift sft --lora_rank x", ("lora_rank", "value_not_int")),
        ("swift sft --model /lf/model --lora_rank 4", ("model", "paste_inside")),
        ("swift sft --a 1 && swift export --b 2", ("text", "paste_more")),
        ("a: &x 1\nb: *x", ("text", "paste_unreadable")),
        ("lora_rank: 8\nlora_rank: 9", ("text", "paste_unreadable")),
        ("- 1", ("text", "paste_unreadable")),
        ("{", ("text", "paste_unreadable")),
        ("", ("text", "paste_unreadable")),
        ("a\0", ("text", "paste_unreadable")),
        ("x" * (LONGEST_TEXT + 1), ("text", "paste_long")),
        ("lora_rank: .nan", ("lora_rank", "value_not_int")),
        ('lora_rank: !!int ""', ("text", "paste_unreadable")),
        ('a: !!bool "x"', ("text", "paste_unreadable")),
        ('a: !!timestamp "x"', ("text", "paste_unreadable")),
        ("a: " + "1:" * 400 + "0.5", ("text", "paste_unreadable")),
        ("learning_rate: 0x" + "f" * 5000, ("text", "paste_unreadable")),
        ('{"a": ' + "[" * 900 + "]" * 900 + "}", ("text", "paste_unreadable")),
        ("\n# a\n\n" * 500 + "swift sft --lora_rank x", ("lora_rank", "value_not_int")),
        ("swift sft --dataset " + "a/b " * 200, ("dataset", "paste_many")),
        ("ENV:\n  MAX_PIXELS: lots", ("MAX_PIXELS", "environment_number")),
    ],
)
def test_what_does_not_fit_is_named(text: str, expected: tuple[str, str]) -> None:
    assert expected in ids(text_parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "swift rlhf --rlhf_type kto --learning_rate 1e-4 --model a/b",
        "python -m torch.distributed.run --nproc_per_node 4 swift/cli/rlhf.py --rlhf_type kto"
        " --learning_rate 1e-4 --model a/b",
        "python -m swift.cli.rlhf --rlhf_type kto --learning_rate 1e-4 --model a/b",
        "swift rlhf \u2014rlhf_type kto \u2013\u2013learning_rate 1e-4 --model \u201ca/b\u201d",
        "swift rlhf --rlhf_type kto ^\r\n --learning_rate 1e-4 --model a/b",
        "model: a/b\nrlhf_type: kto\nlearning_rate: 1e-4\n",
        '{"model": "a/b", "rlhf_type": "kto", "learning_rate": 1e-4, "lora_dropout": 0.05}',
        '{"command": "rlhf", "model": "a/b", "arguments": {"rlhf_type": "kto", "learning_rate": 1e-4}}',
        "# SWIFT 4.6.0: swift rlhf FILE\nmodel: a/b\nrlhf_type: kto\nlearning_rate: 0.0001\n",
    ],
)
def test_every_way_of_writing_it_means_the_same(text: str) -> None:
    pasted = text_parse(text)
    assert (pasted.command, pasted.model) == ("rlhf", "a/b")
    assert pasted.arguments == {"rlhf_type": "kto", "learning_rate": 1e-4}
    assert pasted.problems == ()


def test_models_beside_the_base_model_have_fields_of_their_own() -> None:
    pasted = text_parse("swift rlhf --rlhf_type ppo --reward_model a b --ref_model c")
    assert (pasted.reward_models, pasted.ref_model) == (("a", "b"), "c")
    assert pasted.arguments == {"rlhf_type": "ppo"}


def test_arguments_without_a_command_are_those_of_the_form_at_hand() -> None:
    assert text_parse("--max_new_tokens 7", command="infer").command == "infer"
    assert text_parse("swift merge-lora").arguments == {"merge_lora": True}


WORDS = st.text(st.sampled_from("-=ab'\"\\ \n$#&|;:{}[]é\u2014swift sft--lora_rank 8"), max_size=60)


@settings(max_examples=150, deadline=None)
@given(text=WORDS | st.text(max_size=30))
def test_nothing_that_is_pasted_makes_it_fall_over(text: str) -> None:
    for pasted in (text_parse(text), text_parse(f"swift sft {text}")):
        values: list[Any] = [pasted.model, *pasted.datasets, *pasted.environment.values()]
        assert not [one for one in values if "\0" in one or one.startswith("-")]
