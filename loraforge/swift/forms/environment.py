"""Environment variables that a person may give a job: an allow-list, typed and judged. Never free text.

None of them is one that the platform, the node or the container's policy sets (a test holds the two apart).
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec

from loraforge.swift.argument_help import Words
from loraforge.swift.problems import Problem, problem

LONGEST_BITS = 64  # of a whole number: Python refuses to write one of thousands of digits
FILE = Path(__file__).parent / "environment.json"
FIELD = "environment"
_INT = re.compile(r"[0-9]{1,12}", re.ASCII)
_FLOAT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
GROUPS: dict[str, Words] = {
    "multimodal": Words(en="Images, audio and video", zh="图像、音频与视频"),
    "network": Words(en="Talk between GPUs and machines", zh="GPU 与机器间通信"),
    "gpu": Words(en="GPU and logging", zh="GPU 与日志"),
    "tracking": Words(en="Experiment trackers", zh="实验记录服务"),
    "embedding": Words(en="Embedding and reranking", zh="向量与重排序模型"),
}


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """One variable. ge, le: bounds of a number. pattern: the whole of a text. example: shown in its field."""

    group: str
    kind: Literal["int", "float", "choice", "text"]
    help: Words
    ge: float | None = None
    le: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    example: str = ""


@lru_cache(maxsize=1)
def variables_load() -> Mapping[str, Variable]:
    """Name -> variable, in the order of a form."""
    return msgspec.json.decode(FILE.read_bytes(), type=dict[str, Variable])


def environment_check(given: Mapping[str, object]) -> tuple[dict[str, str], list[Problem]]:
    """The variables as a process takes them, in the order of a form, and what is wrong with the others.

    given: name -> text, number or boolean; None and blank texts count as not given.
    """
    variables = variables_load()
    problems = [_unknown(name) for name in given if name not in variables]
    values: dict[str, str] = {}
    for name, variable in variables.items():
        raw = given.get(name)
        text = _text(raw)
        if text == "":
            continue
        if text is None or not _fits(variable, text):
            problems.append(_refused(name, variable, raw))
        else:
            values[name] = text
    return values, problems


def _text(raw: object) -> str | None:
    """As a text; None for what is none."""
    if raw is None:
        return ""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, int):
        return str(raw) if raw.bit_length() <= LONGEST_BITS else None
    if isinstance(raw, float):
        return f"{raw:.12g}"
    return raw.strip() if isinstance(raw, str) else None


def _fits(variable: Variable, text: str) -> bool:
    if variable.kind == "choice":
        return text in variable.choices
    if variable.kind == "text":
        return re.fullmatch(variable.pattern, text) is not None
    shape = _INT if variable.kind == "int" else _FLOAT
    if not shape.fullmatch(text):
        return False
    low = variable.ge if variable.ge is not None else float("-inf")
    high = variable.le if variable.le is not None else float("inf")
    return low <= float(text) <= high


def _refused(name: str, variable: Variable, raw: object) -> Problem:
    if variable.kind == "choice":
        wanted = ", ".join(variable.choices)
        return problem(name, "environment_choice", value=raw, choices=wanted)
    if variable.kind == "text":
        return problem(name, "environment_text", value=raw, example=variable.example)
    low, high = f"{variable.ge:.12g}", f"{variable.le:.12g}"
    return problem(name, "environment_number", value=raw, low=low, high=high)


def _unknown(name: object) -> Problem:
    return problem(str(name)[:80], "environment_unknown")
