"""Rules of `swift rlhf`: what the algorithm needs, and what does not go together with it.

Each names where SWIFT 4.6.0 stops for it (swift/arguments/rlhf_args.py, swift/rlhf_trainers), mostly after the model
has been loaded.
"""

from collections.abc import Iterator

from loraforge.swift.cases import Case, Rule
from loraforge.swift.problems import Problem, problem

# swift/rewards/orm.py, `orms`
REWARD_FUNCTIONS = (
    "toolbench", "math", "accuracy", "format", "react_format", "cosine", "repetition", "soft_overlong",
)  # fmt: skip
_WITH_REFERENCE = ("dpo", "kto", "ppo", "grpo")
_WITH_REFERENCE_ADAPTER = ("dpo", "kto", "grpo")
_REWARDED = ("ppo", "grpo")
_WITH_TEACHER = ("gkd", "grpo")
_PADDING_FREE = ("grpo", "dpo", "kto", "gkd")
_SEQUENCE_PARALLEL = ("grpo", "dpo")
_SCALAR_LOSSES = ("real", "fipo")


def _method(case: Case) -> str:
    return str(case.value("rlhf_type"))


def _reference(case: Case) -> Iterator[Problem]:
    """RLHFArguments.__post_init__, and rlhf.py's `prepare_model`."""
    given, method = case.facts.ref_model if case.facts else "", _method(case)
    if given == "adapter" and method not in _WITH_REFERENCE_ADAPTER:
        yield problem("ref_model", "ref_adapter_unused", value=method)
    elif given == "whole":
        if method not in _WITH_REFERENCE or case.value("tuner_type") != "full":
            yield problem("ref_model", "ref_model_unused", value=method)
        elif method == "grpo" and case.value("beta") == 0:
            yield problem("ref_model", "ref_model_idle", level="warning")


def _unused(case: Case) -> Iterator[Problem]:
    """What was chosen beside the base model and is not looked at; PPO has exactly one reward model."""
    facts, method = case.facts, _method(case)
    if facts is None:
        return
    if facts.teacher_model and method not in _WITH_TEACHER:
        yield problem("teacher_model", "teacher_unused", level="warning", value=method)
    if method == "ppo" and facts.reward_models != 1:
        yield problem("reward_model", "reward_model_one")
    if method not in _REWARDED and facts.reward_models:
        yield problem("reward_model", "reward_model_unused", level="warning", value=method)
    if facts.reward_files and method != "grpo":
        yield problem("reward_files", "reward_files_unused", level="warning", value=method)


def _rewards(case: Case) -> Iterator[Problem]:
    """grpo_trainer.py, `_prepare_rewards`."""
    facts = case.facts
    if facts is None or _method(case) != "grpo":
        return
    known = (*REWARD_FUNCTIONS, *facts.reward_names)
    named = case.texts("reward_funcs")
    for name in named:
        if name not in known:
            yield problem("reward_funcs", "reward_unknown", value=name, choices=", ".join(known))
    count = len(named) + facts.reward_models
    if not count and not facts.teacher_model and case.value("use_gym_env") is not True:
        yield problem("reward_funcs", "reward_missing")
    weights = case.given.get("reward_weights")
    if isinstance(weights, list) and len(weights) != count:
        yield problem("reward_weights", "reward_weights_number", value=len(weights), count=count)


def _reward_needs(case: Case) -> Iterator[Problem]:
    if _method(case) != "grpo":
        return
    named = case.texts("reward_funcs")
    if "soft_overlong" in named and case.value("soft_cache_length") is None:
        yield problem("soft_cache_length", "soft_cache_missing")
    has_models = case.facts is not None and case.facts.reward_models
    if case.value("dynamic_sample") is True and not named and not has_models:
        yield problem("dynamic_sample", "needs_reward_funcs")


def _generations(case: Case) -> Iterator[Problem]:
    """args_mixin.py, `_init_generation_batch_params`: each question's answers must fill whole batches."""
    if _method(case) != "grpo":
        return
    has_teacher = case.facts is not None and case.facts.teacher_model
    number = int(case.number("num_generations"))
    if number == 1 and not has_teacher:
        yield problem("num_generations", "generations_one")
    processes = case.facts.processes if case.facts is not None else 1
    batch = int(case.number("per_device_train_batch_size")) * processes
    whole, steps = case.number("generation_batch_size"), case.number("steps_per_generation")
    if whole and steps and whole != batch * steps:
        yield problem("generation_batch_size", "generation_batch_steps", value=int(batch * steps))
        return
    if whole and not steps and batch and whole % batch:
        yield problem("generation_batch_size", "generation_batch_whole", value=batch)
        return
    steps = steps or case.number("gradient_accumulation_steps") or 1
    total = int(whole or batch * steps)
    if number > 1 and total > 0 and total % number:
        yield problem("num_generations", "generations_divide", value=number, total=total)


def _grpo(case: Case) -> Iterator[Problem]:
    """`_init_grpo`, `_init_rollout`, `_check_grpo` and what it calls."""
    if _method(case) != "grpo":
        return
    for name in ("cached_dataset", "cached_val_dataset"):
        if case.given.get(name):
            yield problem(name, "cached_unused", value="GRPO")
    if case.given.get("truncation_strategy", "left") not in ("left", "delete"):
        yield problem("truncation_strategy", "grpo_truncation")
    loss = case.texts("loss_type")
    has_teacher = case.facts is not None and case.facts.teacher_model
    is_rlsd = case.value("advantage_reweight") == "rlsd"
    if (has_teacher or is_rlsd) and any(one in _SCALAR_LOSSES for one in loss):
        yield problem("loss_type", "teacher_loss", value=", ".join(loss))
    if is_rlsd and not case.texts("reward_funcs"):
        yield problem("advantage_reweight", "needs_reward_funcs")
    if is_rlsd and case.number("sdar_loss_coef") > 0:
        yield problem("sdar_loss_coef", "rlsd_sdar")


def _rollout(case: Case) -> Iterator[Problem]:
    mode, is_on = case.value("vllm_mode"), case.value("use_vllm") is True
    if _method(case) not in ("grpo", "gkd"):
        return
    if mode is not None and not is_on:
        yield problem("vllm_mode", "vllm_off")
    elif is_on and mode is None:
        yield problem("vllm_mode", "vllm_mode_missing")
    if mode == "server" or case.value("async_generate") is True:
        name = "vllm_mode" if mode == "server" else "async_generate"
        yield problem(name, "rollout_server")
    if is_on and case.facts is not None and case.facts.is_cpu:
        yield problem("use_vllm", "gpu_only")


def _loss(case: Case) -> Iterator[Problem]:
    """`_process_loss_type`: several losses, and their weights, are DPO's."""
    method, losses = _method(case), case.texts("loss_type")
    weights = case.given.get("loss_weights")
    if len(losses) > 1 and method != "dpo":
        yield problem("loss_type", "losses_dpo_only", value=method)
    if weights is not None and method != "dpo":
        yield problem("loss_weights", "losses_dpo_only", value=method)
    elif isinstance(weights, list) and len(weights) != max(1, len(losses)):
        yield problem("loss_weights", "loss_weights_number", value=len(weights), count=len(losses))


def _distilling(case: Case) -> Iterator[Problem]:
    """`_check_gkd`, `_check_teacher`."""
    if _method(case) != "gkd":
        return
    if case.value("seq_kd") is True:
        yield problem("seq_kd", "seq_kd")
    top = case.value("gkd_logits_topk")
    if isinstance(top, int) and top <= 0:
        yield problem("gkd_logits_topk", "topk_positive")
    if case.value("use_liger_kernel") is True:
        has_teacher = case.facts is not None and case.facts.teacher_model
        if not has_teacher or top is not None:
            yield problem("use_liger_kernel", "gkd_liger")
    if case.facts is not None and not case.facts.teacher_model:
        yield problem("teacher_model", "teacher_self", level="warning")


def _attention(case: Case) -> Iterator[Problem]:
    method = _method(case)
    for name in ("packing", "padding_free"):
        if case.value(name) is True and method not in _PADDING_FREE:
            yield problem(name, "method_unsupported", value=method)
    if case.number("sequence_parallel_size") > 1 and method not in _SEQUENCE_PARALLEL:
        yield problem("sequence_parallel_size", "method_unsupported", value=method)


def _ppo(case: Case) -> Iterator[Problem]:
    """Seen: PPO counts its own steps and goes on until the rows are used up."""
    if _method(case) == "ppo" and case.number("max_steps") > 0:
        yield problem("max_steps", "ppo_steps", level="warning")


ALIGNMENT_RULES: tuple[Rule, ...] = (
    _reference,
    _unused,
    _rewards,
    _reward_needs,
    _generations,
    _grpo,
    _rollout,
    _loss,
    _distilling,
    _attention,
    _ppo,
)
