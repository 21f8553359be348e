"""One value of one argument: what a person or an integrator gave, as SWIFT will understand it.

Values come as JSON (from the API) or as text (from a form), so "8", "1e-4" and "true" are read too.
"""

import math
import re
from collections.abc import Callable

import msgspec

from loraforge.swift.catalogue import Argument, Catalogue, Value
from loraforge.swift.problems import Problem, problem

# Linux refuses one argument of 128 KiB and more (MAX_ARG_STRLEN).
LONGEST_BYTES = 100_000
LONGEST_LIST = 2_000  # words of one argument; every one is an argument of the process
LARGEST_INT = 2**63 - 1
# Python itself would also read 1_000 and the digits of every script.
_FLOAT = re.compile(
    r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|nan|inf|infinity)", re.ASCII | re.IGNORECASE
)
# Tokens of services, by their well-known beginnings: SWIFT writes its arguments into the output files.
_SECRET = re.compile(
    r"\b(hf_|ghp_|github_pat_|sk-|lfp_|lfn_)[A-Za-z0-9_-]{20,}|\bms-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    re.ASCII,
)
# The words that SWIFT's parser takes (transformers.hf_argparser.string_to_bool).
WORDS_OF_BOOL = {
    **dict.fromkeys(("yes", "true", "t", "y", "1"), True),
    **dict.fromkeys(("no", "false", "f", "n", "0"), False),
}
# Arguments whose empty text means something; elsewhere an empty text means "not given".
EMPTY_MEANS_SOMETHING = frozenset({"system", "response_prefix"})
# Words that a JSON argument also takes, beside its registry's names.
WORDS_OF_JSON = {"device_map": ("auto", "balanced", "balanced_low_0", "cpu", "sequential")}
# Registries that a value must be in: plugins are the platform's, so nobody can register others.
CLOSED_REGISTRIES = frozenset(
    {
        "agent_template", "deepspeed", "eval_metric", "fsdp", "loss_type", "lr_scheduler_type",
        "model_type", "optimizer", "report_to", "template", "tuner_type",
    }
)  # fmt: skip


class RefusedError(ValueError):
    """A value that an argument does not take; `reason` is an id of `problems.TEXTS`."""

    def __init__(self, reason: str, **params: object) -> None:
        super().__init__(reason)
        self.reason = reason
        self.params = params


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a number: ge, le include the bound, gt, lt do not."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def holds(self, value: float) -> bool:
        return not (
            (self.ge is not None and value < self.ge)
            or (self.gt is not None and value <= self.gt)
            or (self.le is not None and value > self.le)
            or (self.lt is not None and value >= self.lt)
        )

    def __str__(self) -> str:
        signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
        bounds = ((sign, getattr(self, name)) for name, sign in signs.items())
        return ", ".join(f"{sign} {bound:.10g}" for sign, bound in bounds if bound is not None)


_POSITIVE = Range(gt=0)
_NOT_NEGATIVE = Range(ge=0)
_COUNT = Range(ge=1)
_RATIO = Range(ge=0, lt=1)
_SHARE = Range(ge=0, le=1)
RANGES: dict[str, Range] = {
    **dict.fromkeys(("learning_rate", "vit_lr", "aligner_lr", "adam_epsilon"), _POSITIVE),
    **dict.fromkeys(("lora_alpha", "eval_steps", "save_steps"), _POSITIVE),
    "num_train_epochs": Range(gt=0, le=100_000),
    **dict.fromkeys(
        (
            "weight_decay", "max_grad_norm", "warmup_steps", "eval_delay", "neftune_noise_alpha",
            "temperature", "router_aux_loss_coef", "dataloader_num_workers", "shuffle_buffer_size",
            "lorap_lr_ratio",
        ),
        _NOT_NEGATIVE,
    ),
    **dict.fromkeys(
        (
            "per_device_train_batch_size", "per_device_eval_batch_size", "max_length", "lora_rank",
            "gradient_accumulation_steps", "logging_steps", "save_total_limit", "num_labels",
            "dataset_num_proc", "eval_accumulation_steps", "dataloader_prefetch_factor",
            "sequence_parallel_size", "max_pixels", "max_model_len", "max_new_tokens", "num_beams",
            "early_stop_interval", "ddp_timeout", "max_epochs", "packing_length", "eval_limit",
            "torch_empty_cache_steps", "generation_max_length", "generation_num_beams",
            "num_return_sequences", "max_batch_size", "packing_num_proc", "max_completion_length",
        ),
        _COUNT,
    ),
    **dict.fromkeys(("lora_dropout", "label_smoothing_factor", "warmup_ratio"), _RATIO),
    **dict.fromkeys(("split_dataset_ratio", "adam_beta1", "adam_beta2"), _RATIO),
    **dict.fromkeys(("top_p", "vllm_gpu_memory_utilization"), Range(gt=0, le=1)),
    **dict.fromkeys(("decision_drop_instructions", "decision_state_as_text"), _SHARE),
    "max_steps": Range(ge=-1),
    **dict.fromkeys(("seed", "data_seed"), Range(ge=0, le=2**32 - 1)),
}  # fmt: skip


def value_read(argument: Argument, raw: object, *, catalogue: Catalogue) -> Value | None:
    """The value as SWIFT will take it; None = not given. Raises RefusedError."""
    if raw is None or _means_nothing(argument, raw):
        return None
    value = _READERS[argument.kind](argument, raw)
    items = value if isinstance(value, list) else [value]
    for item in items:
        _check_item(argument, item, catalogue=catalogue)
    return value


def problem_of(argument: Argument, refusal: RefusedError) -> Problem:
    """The refusal as a problem of the argument's field."""
    return problem(argument.name, refusal.reason, level="error", **refusal.params)


def _means_nothing(argument: Argument, raw: object) -> bool:
    return isinstance(raw, str) and not raw.strip() and argument.name not in EMPTY_MEANS_SOMETHING


def _check_item(argument: Argument, item: object, *, catalogue: Catalogue) -> None:
    if isinstance(item, str):
        _check_text(item)
    if isinstance(item, dict):  # it becomes one word of the command line
        _check_text(msgspec.json.encode(item).decode())
    limits = RANGES.get(argument.name)
    if limits is not None and isinstance(item, int | float) and not limits.holds(item):
        raise RefusedError("value_range", value=item, limit=limits)
    allowed = _allowed(argument, catalogue)
    if allowed is not None and not isinstance(item, dict) and item not in allowed:
        raise RefusedError("value_choice", value=item, choices=", ".join(map(str, allowed)))


def _allowed(argument: Argument, catalogue: Catalogue) -> tuple[str | int, ...] | None:
    if argument.choices is not None:
        return argument.choices
    # alignment has a loss_type of its own, with other values
    is_closed = argument.name in CLOSED_REGISTRIES
    if is_closed and not (argument.name == "loss_type" and argument.is_list):
        return catalogue.registries.get(argument.name)
    return WORDS_OF_JSON.get(argument.name)


def _check_text(text: str) -> None:
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError as error:
        raise RefusedError("value_unreadable") from error
    if "\0" in text:
        raise RefusedError("value_unreadable")
    if _SECRET.search(text):
        raise RefusedError("value_secret")
    if size_bytes > LONGEST_BYTES:
        raise RefusedError("value_too_long", limit=LONGEST_BYTES)


def _read_bool(_argument: Argument, raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower()
    if not isinstance(raw, int | str) or word not in WORDS_OF_BOOL:
        raise RefusedError("value_not_bool", value=raw)
    return WORDS_OF_BOOL[word]


def _read_int(_argument: Argument, raw: object) -> int:
    text = raw.strip() if isinstance(raw, str) else raw
    if isinstance(text, str) and re.fullmatch(r"[+-]?[0-9]{1,19}", text, re.ASCII):
        text = int(text)
    if isinstance(text, float) and text.is_integer():
        text = int(text)
    if isinstance(text, bool) or not isinstance(text, int) or abs(text) > LARGEST_INT:
        raise RefusedError("value_not_int", value=raw)
    return text


def _read_float(_argument: Argument, raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise RefusedError("value_not_float", value=raw)
    if isinstance(raw, str) and not _FLOAT.fullmatch(raw.strip()):
        raise RefusedError("value_not_float", value=raw)
    try:
        number = float(raw)
    except (ValueError, OverflowError) as error:
        raise RefusedError("value_not_float", value=raw) from error
    if not math.isfinite(number):
        raise RefusedError("value_not_finite", value=raw)
    return number


def _read_str(_argument: Argument, raw: object) -> str:
    if not isinstance(raw, str):
        raise RefusedError("value_not_text", value=raw)
    return raw


def _read_choice(argument: Argument, raw: object) -> str | int:
    """A choice in its own type: "4" is 4 where 4 is one of them."""
    for choice in argument.choices or ():
        if str(choice) == str(raw).strip() and not isinstance(raw, bool | list | dict):
            return choice
    raise RefusedError(
        "value_choice", value=raw, choices=", ".join(map(str, argument.choices or ()))
    )


def _read_json(argument: Argument, raw: object) -> dict[str, object] | str:
    has_words = argument.name in CLOSED_REGISTRIES or argument.name in WORDS_OF_JSON
    if has_words and isinstance(raw, str) and not raw.lstrip().startswith("{"):
        return raw.strip()
    plain = raw
    try:
        if isinstance(raw, str):
            plain = msgspec.json.decode(raw)
        # msgspec writes NaN as null: what does not come back equal was not JSON
        same = msgspec.json.decode(msgspec.json.encode(plain)) == plain
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError) as error:
        raise RefusedError("value_not_json", value=raw) from error
    if not isinstance(plain, dict) or not same:
        raise RefusedError("value_not_json", value=raw)
    return plain


def _read_list(argument: Argument, raw: object) -> list[int | float | str]:
    """A list; from a form's text, a JSON list or words parted by blanks and line ends."""
    items = raw
    if isinstance(raw, str):
        items = _split(raw)
    if not isinstance(items, list | tuple):
        raise RefusedError("value_not_list", value=raw)
    if not items:
        raise RefusedError("value_empty_list")
    if len(items) > LONGEST_LIST:
        raise RefusedError("value_long_list", limit=LONGEST_LIST)
    read = _ITEM_READERS[argument.kind]
    values = [read(argument, item) for item in items]
    for value in values:
        if len(values) > 1 and isinstance(value, str) and value.startswith("-"):
            raise RefusedError("value_like_flag", value=value)
    return values


def _split(text: str) -> object:
    if not text.lstrip().startswith("["):
        return text.split()
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RefusedError("value_not_list", value=text) from error


_ITEM_READERS: dict[str, Callable[[Argument, object], int | float | str]] = {
    "list_int": _read_int,
    "list_float": _read_float,
    "list_str": _read_str,
}
_READERS: dict[str, Callable[[Argument, object], Value]] = {
    "bool": _read_bool,
    "int": _read_int,
    "float": _read_float,
    "str": _read_str,
    "choice": _read_choice,
    "json": _read_json,
    "list_int": _read_list,
    "list_float": _read_list,
    "list_str": _read_list,
}
