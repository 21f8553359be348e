"""Rules of what does not train: batch inference, export, evaluation, sampling, an inference service.

Each names where SWIFT 4.6.0 stops for it, or what it leaves undone without a word.
"""

from collections.abc import Iterator

from loraforge.swift.alignment import REWARD_FUNCTIONS
from loraforge.swift.cases import Case, Rule
from loraforge.swift.jobs import EXPORTS, engine_of
from loraforge.swift.problems import Problem, problem

# swift/rewards/prm.py, `prms`; both ask a service elsewhere
PROCESS_REWARDS = ("qwen_max", "client")
_NEEDS_ROWS = ("infer", "sample")
_ONE_PROCESS = frozenset({"export", "eval", "sample", "deploy"})
_CALIBRATED = ("gptq", "awq", "gptq_v2")
_GPU_BACKENDS = ("vllm", "sglang", "lmdeploy")


def model_given(case: Case) -> Iterator[Problem]:
    """Every command has one; a checkpoint of another job brings its own."""
    if case.facts is not None and not case.facts.has_model and not case.given.get("model"):
        yield problem("model", "model_missing")


def _rows(case: Case) -> Iterator[Problem]:
    command, facts = case.command.name, case.facts
    if facts is None:
        return
    has_rows = facts.has_dataset or case.given.get("dataset") or case.given.get("cached_dataset")
    if command == "infer":
        has_rows = has_rows or facts.has_validation_set or case.given.get("val_dataset")
    needs = command in _NEEDS_ROWS or case.given.get("to_cached_dataset") is True
    if needs and not has_rows:
        yield problem("dataset", "dataset_missing")
    if command == "export" and case.value("quant_method") in _CALIBRATED and not has_rows:
        yield problem("dataset", "calibration_missing", value=case.value("quant_method"))


def _processes(case: Case) -> Iterator[Problem]:
    """Only pt, sft, rlhf and infer share rows among processes (swift/cli/main.py)."""
    if case.facts is not None and case.facts.processes > 1 and case.command.name in _ONE_PROCESS:
        yield problem("processes", "one_process")


def _engines(case: Case) -> Iterator[Problem]:
    is_cpu = case.facts is not None and case.facts.is_cpu
    for name in ("infer_backend", "sampler_engine"):
        if case.command.argument(name) and case.value(name) in _GPU_BACKENDS and is_cpu:
            yield problem(name, "gpu_only")
    if case.value("stream") is True and case.command.name == "infer":
        yield problem("stream", "stream_file", level="warning")


def _export(case: Case) -> Iterator[Problem]:
    """swift/pipelines/export/export.py does one thing; with two, the first writes beside its inputs."""
    if case.command.name != "export":
        return
    wanted = [name for name in (*EXPORTS, "push_to_hub") if case.given.get(name)]
    if not wanted:
        yield problem("merge_lora", "export_nothing")
    if len(wanted) > 1:
        yield problem(wanted[1], "export_two", value=f"--{wanted[0]}")
    weights = case.facts.weights if case.facts is not None else None
    if "merge_lora" in wanted and weights is not None and weights != "adapter":
        yield problem("merge_lora", "merge_without_lora")
    if "push_to_hub" in wanted and not case.given.get("hub_model_id"):
        yield problem("hub_model_id", "hub_model_missing")


def _caching(case: Case) -> Iterator[Problem]:
    if case.given.get("to_cached_dataset") is True:
        for name in ("packing", "streaming"):
            if case.value(name) is True:
                yield problem(name, "cached_plain")


def _quantising(case: Case) -> Iterator[Problem]:
    if case.command.name != "export":
        return
    method, bits = case.value("quant_method"), case.value("quant_bits")
    if bits and method is None:
        yield problem("quant_method", "quant_method_missing")
    if method and bits is None and method != "fp8":
        yield problem("quant_bits", "quant_bits_missing", value=method)
    if method and case.facts is not None:
        if case.facts.is_cpu:
            yield problem("quant_method", "gpu_only")
        if case.facts.weights == "adapter":
            yield problem("quant_method", "quantise_adapter")


def _evaluation(case: Case) -> Iterator[Problem]:
    if case.command.name != "eval":
        return
    has_rows = case.facts is not None and case.facts.has_dataset
    if not case.given.get("eval_dataset") and not has_rows and case.facts is not None:
        yield problem("eval_dataset", "eval_dataset_missing")
    if case.value("eval_backend") != "Native":
        yield problem("eval_backend", "eval_backend_absent", value=case.value("eval_backend"))


def _scoring(case: Case) -> Iterator[Problem]:
    """base.py of its samplers: a name that it does not know is taken for a model of a hub."""
    if case.command.name != "sample" or case.facts is None:
        return
    names = case.facts.reward_names
    for name, own in (("orm_model", REWARD_FUNCTIONS), ("prm_model", PROCESS_REWARDS)):
        known, value = (*own, *names), case.value(name)
        if value is not None and value not in known:
            yield problem(name, "reward_unknown", value=value, choices=", ".join(known))


def _sampling(case: Case) -> Iterator[Problem]:
    """vanilla_sampler.py hands adapters to its engine alone, and not every engine takes them."""
    if case.command.name != "sample":
        return
    engine = case.value("sampler_engine")
    has_adapter = case.facts is not None and case.facts.weights == "adapter"
    is_distilled = case.value("sampler_type") == "distill" or engine == "client"
    if is_distilled:
        yield problem("sampler_type" if engine != "client" else "sampler_engine", "sample_service")
    elif has_adapter and engine != "transformers":
        yield problem("sampler_engine", "sample_adapter", value=engine)
    if case.given.get("engine_kwargs") and not engine_of(case.given):
        yield problem("engine_kwargs", "value_not_json", value=case.value("engine_kwargs"))


WORK_RULES: tuple[Rule, ...] = (
    _rows,
    _processes,
    _engines,
    _export,
    _caching,
    _quantising,
    _evaluation,
    _scoring,
    _sampling,
)
