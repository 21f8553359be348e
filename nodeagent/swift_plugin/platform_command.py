"""SWIFT plugin for what does not train (inference, export, evaluation, sampling): says when the imports are done,
keeps results where the platform looks for them, and ends what may be replaced elsewhere.

SWIFT 4.6 imports this file (`--external_plugins`) while it reads the command's arguments. A checkpoint's own
args.json names plugins as well, of the training that wrote it; SWIFT takes these only where none is given.

Environment: CB_EVENTS, CB_SECRETS and the fence's (lf_fence.py), as in platform_callback.py, and
  CB_EVAL_RESULT  file for the scores of an evaluation; SWIFT would write it beside the weights, which are read-only
"""

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

from lf_fence import fence_make
from swift.arguments import EvalArguments

EX_FENCED = 75


def event_write(event: str, row: dict[str, Any]) -> None:
    """Append one line in one write; of several processes the first one speaks."""
    path = os.environ.get("CB_EVENTS")
    if not path or os.environ.get("RANK", "0") not in ("0", "-1"):
        return
    whole = {
        "event": event,
        "time": round(time.time(), 3),
        "step": 0,
        "max_steps": 0,
        "epoch": 0,
        **row,
    }
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, json.dumps(whole, ensure_ascii=False).encode() + b"\n")
    finally:
        os.close(handle)


def secrets_take() -> None:
    """What the owner stored for services elsewhere; it came by a file, so that no command or log has it."""
    given = os.environ.get("CB_SECRETS")
    if given:
        os.environ.update(json.loads(Path(given).read_text(encoding="utf-8")))


def fenced() -> None:
    """Nothing is to be saved: what it has answered so far is in its file."""
    event_write("stopped", {"reason": "fence", "checkpoint": None})
    os._exit(EX_FENCED)


def result_place(arguments: Any, folder_name: str) -> None:
    """In place of EvalArguments._init_result_path: the scores go where the platform looks for them."""
    RESULT_PATH(arguments, folder_name)
    arguments.result_jsonl = os.environ["CB_EVAL_RESULT"]


def native_only(eval_backend: str | None = None) -> dict[str, list[str]]:
    """In place of EvalArguments.list_eval_dataset, which imports every backend, installed or not."""
    if eval_backend not in (None, "Native"):
        return dict(LISTING(eval_backend))
    from evalscope.api.registry import BENCHMARK_REGISTRY  # noqa: PLC0415 - only evaluations have it
    from evalscope.constants import EvalBackend  # noqa: PLC0415

    return {EvalBackend.NATIVE: sorted(BENCHMARK_REGISTRY)}


secrets_take()
RESULT_PATH = EvalArguments._init_result_path
LISTING = EvalArguments.list_eval_dataset
if os.environ.get("CB_EVAL_RESULT"):
    EvalArguments._init_result_path = result_place
    EvalArguments.list_eval_dataset = staticmethod(native_only)
# A server or a worker that the command starts imports this again; only the command itself speaks.
if multiprocessing.parent_process() is None:
    event_write("plugin_loaded", {"pid": os.getpid()})
    FENCE = fence_make(os.environ, stop=fenced, end=fenced)
    if FENCE is not None:
        FENCE.start()
