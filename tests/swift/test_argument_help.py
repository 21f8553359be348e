"""The help of SWIFT's arguments: all of them, in both languages, in our words, in one section each."""

import re
from collections import Counter
from pathlib import Path

import pytest

from loraforge.swift import argument_help
from loraforge.swift.argument_help import (
    FOLDER,
    SECTIONS_FILE,
    Words,
    arguments_search,
    help_load,
    sections_load,
    sections_of,
)
from loraforge.swift.catalogue import catalogue_load

SHORTEST, LONGEST = 20, 400  # characters
CHINESE = re.compile(r"[\u4e00-\u9fff]")
FLAG = re.compile(r"--(\w+)")

# Words that the screen does not use, or uses for another thing: "task" is Celery's, a "run" is a job or an
# attempt, a template is a chat template, what happens during training is validation. 任务 is a job.
FORBIDDEN_EN = re.compile(
    r"\btasks?\b|\b(an?|the|this|that|each|every|same|whole|earlier|previous|training) runs?\b"
    r"|(?<!chat )\btemplates?\b|\beval\b|\bETA\b|\bartifacts?\b|\bdeploy\w*|\bVRAM\b|\bnotices?\b"
    r"|\bevaluation set\b|\bagents?\b|\balignment method|\bparameters?\b|\bcelery\b",
    re.IGNORECASE,
)
FORBIDDEN_ZH = re.compile(
    r"产物|梯度累计|全量|评估|预训练模型|(?<!对话)(?<!训练)模板|测试集|评测集|部署|词元|句子|视频内存|显卡内存"
)
# Arguments whose help speaks of what they are called in the glossary.
TERMS = {
    "per_device_train_batch_size": ("Batch size per GPU", "单卡批次大小"),
    "split_dataset_ratio": ("Validation split", "验证集比例"),
    "num_train_epochs": ("Epochs", "训练轮数"),
    "template": ("chat template", "对话模板"),
    "system": ("System prompt", "系统提示词"),
    "tuner_type": ("Training method", "训练方式"),
    "rlhf_type": ("Alignment algorithm", "对齐算法"),
    "reward_funcs": ("Reward functions", "奖励函数"),
    "adapters": ("LoRA weights (adapters)", "LoRA 权重（适配器）"),
    "model": ("base model", "基座模型"),
    "truncation_strategy": ("over-length rows", "超长样本"),
}


def told() -> list[tuple[str, Words]]:
    return [(name, one.words) for name, one in help_load().items()]


def all_names() -> set[str]:
    return {name for command in catalogue_load().commands.values() for name in command.arguments}


def test_every_argument_of_every_command_has_help_and_nothing_else_does() -> None:
    assert len(all_names()) == 566
    assert set(help_load()) == all_names()


def test_each_file_is_a_section_and_each_argument_stands_in_one() -> None:
    ids = [section.id for section in sections_load()]
    assert len(set(ids)) == len(ids)
    assert {path.name for path in FOLDER.iterdir()} == {f"{one}.json" for one in ids} | {
        SECTIONS_FILE
    }
    for command in catalogue_load().commands.values():
        shown = [name for _, names in sections_of(command.arguments.values()) for name in names]
        assert sorted(shown) == sorted(command.arguments)


def test_an_argument_in_two_sections_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for path in FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "ppo.json").write_text('{"lora_rank": {"en": "x", "zh": "y"}}')
    monkeypatch.setattr(argument_help, "FOLDER", tmp_path)
    help_load.cache_clear()
    try:
        with pytest.raises(ValueError, match="lora_rank stands in lora and in ppo"):
            help_load()
    finally:
        help_load.cache_clear()


def test_both_languages_say_something_of_their_own() -> None:
    for name, words in told():
        for text in (words.en, words.zh):
            assert SHORTEST <= len(text) <= LONGEST, (name, text)
            assert text == " ".join(text.split()), name
            assert text.rstrip(".。").casefold() not in {name, name.replace("_", " ")}, name
        assert words.en != words.zh
        assert not CHINESE.search(words.en), name
        assert CHINESE.search(words.zh), name
    for each in ("en", "zh"):
        texts = Counter(getattr(words, each) for _, words in told())
        assert [text for text, count in texts.items() if count > 1] == []


def test_titles_are_told_in_both_languages() -> None:
    titles = [section.title for section in sections_load()]
    assert len({title.en for title in titles}) == len({title.zh for title in titles}) == len(titles)
    names = {"LoRA", "PPO", "GRPO", "vLLM", "SGLang", "LMDeploy"}
    assert {title.en for title in titles if title.en == title.zh} == names


def test_the_words_of_the_screen_are_used_and_no_others() -> None:
    texts = [*told(), *((section.id, section.title) for section in sections_load())]
    for name, words in texts:
        en, zh = FLAG.sub("", words.en), FLAG.sub("", words.zh)
        found = [FORBIDDEN_EN.search(en), FORBIDDEN_ZH.search(zh)]
        assert found == [None, None], (name, found)
    for name, (en, zh) in TERMS.items():
        words = help_load()[name].words
        assert en in words.en, name
        assert zh in words.zh, name


def test_flags_that_help_speaks_of_exist_and_are_the_same_in_both_languages() -> None:
    for name, words in told():
        spoken = set(FLAG.findall(words.en))
        assert spoken <= all_names(), name
        assert spoken == set(FLAG.findall(words.zh)), name


def test_search_finds_by_name_first_and_then_by_the_help_of_the_language() -> None:
    sft = catalogue_load().commands["sft"]
    for query in ("lora_rank", "--lora_rank", "lora-rank"):
        assert arguments_search(sft, query, "en")[0].name == "lora_rank"
    english = [one.name for one in arguments_search(sft, "overfitting", "en")]
    assert "weight_decay" in english
    assert arguments_search(sft, "overfitting", "zh-hans") == []
    assert "weight_decay" in [one.name for one in arguments_search(sft, "过拟合", "zh-hans")]
    assert len(arguments_search(sft, "", None)) == len(sft.arguments)
