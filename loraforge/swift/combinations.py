"""Arguments that are right one by one and wrong together, for the training commands.

Each rule names where SWIFT or transformers stops for it, or what is silently ignored; the point is
to say so before a GPU is waited for.
"""

from collections.abc import Iterator

from loraforge.swift.alignment import ALIGNMENT_RULES
from loraforge.swift.cases import Case, Rule
from loraforge.swift.jobs import TRAINING
from loraforge.swift.models import models_load
from loraforge.swift.problems import Problem, problem
from loraforge.swift.working import WORK_RULES, model_given

FLASH_ATTENTION = ("flash_attn", "flash_attention_2", "flash_attention_3", "flash_attention_4")


def combination_problems(case: Case) -> list[Problem]:
    """What the rules of the command find."""
    command = case.command.name
    if command not in TRAINING:
        rules = WORK_RULES
    else:
        rules = (*RULES, *ALIGNMENT_RULES) if command == "rlhf" else RULES
    return [found for rule in (model_given, *rules) for found in rule(case)]


def _inputs(case: Case) -> Iterator[Problem]:
    if case.facts is None:
        return
    named = case.given.get("dataset") or case.given.get("cached_dataset")
    if not case.facts.has_dataset and not named:
        yield problem("dataset", "dataset_missing")


def _precision(case: Case) -> Iterator[Problem]:
    half = case.value("fp16") is True or case.value("torch_dtype") == "float16"
    if case.value("bf16") is True and case.value("fp16") is True:
        yield problem("fp16", "precision_both")
    elif half and case.facts is not None and case.facts.is_cpu:
        yield problem("fp16" if case.value("fp16") else "torch_dtype", "precision_on_cpu")
    elif case.value("torch_dtype") == "float16" and case.value("tuner_type") == "full":
        # torch's scaler, at the first step: "Attempting to unscale FP16 gradients" (seen with 4.6.0)
        yield problem("torch_dtype", "precision_full")


def _quantising(case: Case) -> Iterator[Problem]:
    """swift/arguments/base_args/quant_args.py; optimising quantised weights is impossible."""
    method, bits = case.value("quant_method"), case.value("quant_bits")
    if (method or bits) and case.value("tuner_type") == "full":
        yield problem("quant_bits" if bits else "quant_method", "quantised_full")
    if method in ("bnb", "hqq", "quanto") and bits is None:
        yield problem("quant_bits", "quant_bits_missing", value=method)
    if bits is not None and method is None:
        yield problem("quant_method", "quant_method_missing", level="warning")


def _task(case: Case) -> Iterator[Problem]:
    if case.value("task_type") == "seq_cls" and case.value("num_labels") is None:
        yield problem("num_labels", "num_labels_missing")


def _length(case: Case) -> Iterator[Problem]:
    if case.value("streaming") is True and case.number("max_steps") <= 0:
        yield problem("max_steps", "streaming_without_steps")
    if case.number("max_steps") > 0 and "num_train_epochs" in case.given:
        yield problem("num_train_epochs", "steps_win", level="warning")
    if case.number("warmup_steps") > 0 and case.number("warmup_ratio") > 0:
        yield problem("warmup_ratio", "warmup_twice", level="warning")


def _attention(case: Case) -> Iterator[Problem]:
    """swift/arguments/sft_args.py, `_check_padding_free`."""
    for name in ("packing", "padding_free"):
        if case.value(name) is True and case.value("attn_impl") not in FLASH_ATTENTION:
            yield problem(name, "packing_attention")


def _devices(case: Case) -> Iterator[Problem]:
    """swift/arguments/sft_args.py, `_init_deepspeed` and `_init_fsdp`."""
    sharded = [name for name in ("deepspeed", "fsdp") if case.value(name)]
    if len(sharded) > 1:
        yield problem("fsdp", "sharding_both")
    if sharded and case.value("device_map"):
        yield problem("device_map", "device_map_sharded")
    if case.facts is not None and case.facts.is_cpu:
        for name in (*sharded, *(one for one in ("quant_method",) if case.value(one) == "bnb")):
            yield problem(name, "gpu_only")
        if case.value("attn_impl") in FLASH_ATTENTION:
            yield problem("attn_impl", "gpu_only")


def _has_validation(case: Case) -> bool:
    return bool(
        (case.facts is not None and case.facts.has_validation_set)
        or case.given.get("val_dataset")
        or case.given.get("cached_val_dataset")
        or case.given.get("eval_dataset")
        or (case.number("split_dataset_ratio") > 0 and case.value("streaming") is not True)
    )


def _validation(case: Case) -> Iterator[Problem]:
    """SWIFT sets eval_strategy to "no" when there is nothing to validate on."""
    if case.facts is not None and not _has_validation(case):
        for name in ("eval_steps", "eval_strategy", "metric_for_best_model", "early_stop_interval"):
            if name in case.given and case.given[name] != "no":
                yield problem(name, "validation_missing", level="warning")
        if case.value("load_best_model_at_end") is True:
            yield problem("load_best_model_at_end", "validation_missing")
    elif case.value("load_best_model_at_end") is True:
        yield from _best_model(case)


def _best_model(case: Case) -> Iterator[Problem]:
    """transformers.TrainingArguments: the saved steps must be among the validated ones."""
    save = case.number("save_steps")
    every = case.number("eval_steps") or save
    if case.value("save_strategy") == "steps" and save >= 1 and every >= 1 and save % every:
        yield problem("save_steps", "best_model_steps")


def _template(case: Case) -> Iterator[Problem]:
    kind = models_load(case.models_version).model_types.get(str(case.value("model_type")))
    template = case.value("template")
    if kind is None or template is None or template in kind.candidate_templates:
        return
    yield problem(
        "template",
        "template_foreign",
        level="warning",
        value=template,
        model_type=case.value("model_type"),
        choices=", ".join(kind.candidate_templates),
    )


def _tuner(case: Case) -> Iterator[Problem]:
    tuner = case.value("tuner_type")
    for name in ("lora_rank", "lora_alpha", "lora_dropout", "use_dora", "use_rslora"):
        if tuner == "full" and name in case.given:
            yield problem(name, "tuner_unused", level="warning", value=tuner)
    if case.value("save_strategy") == "no":
        yield problem("save_strategy", "saving_off", level="warning")


RULES: tuple[Rule, ...] = (
    _inputs,
    _precision,
    _quantising,
    _task,
    _length,
    _attention,
    _devices,
    _validation,
    _template,
    _tuner,
)
