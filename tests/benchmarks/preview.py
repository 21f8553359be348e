"""`POST swift/preview/` of a fine-tune that gives every argument a value: what each pause in typing asks for."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx

from loraforge.swift.catalogue import Argument, catalogue_load
from loraforge.swift.reserved import OWN_FIELDS, reserved_reason
from tests.benchmarks.joblist import bare
from tests.benchmarks.running import Running, percentiles

PATH = "/api/v1/swift/preview/"
COMMAND = "sft"
REQUESTS = 120
WARM = 10
SAMPLES: dict[str, Any] = {
    "bool": True, "int": 2, "float": 0.5, "str": "x", "json": {"key": 1},
    "list_int": [2], "list_float": [0.5], "list_str": ["x"],
}  # fmt: skip


def _value(argument: Argument) -> Any:
    offered = catalogue_load().suggestions(argument)
    if offered:
        return [offered[0]] if argument.is_list else offered[0]
    return SAMPLES[argument.kind]


def _once(ask: Callable[[], httpx.Response]) -> float:
    began = time.perf_counter()
    ask().raise_for_status()
    return (time.perf_counter() - began) * 1000


def run(stack: Running) -> dict[str, Any]:
    """Milliseconds over HTTP, beside a server that only sends the same bytes."""
    command = catalogue_load().commands[COMMAND]
    given = {
        name: _value(argument)
        for name, argument in command.arguments.items()
        if name not in OWN_FIELDS and reserved_reason(name) is None
    }
    body = {"command": COMMAND, "model": "Qwen/Qwen2.5-7B-Instruct", "arguments": given}
    headers = {"Authorization": stack.token}
    answered = stack.data / "preview.json"
    with httpx.Client(base_url=stack.url, timeout=60) as ours:
        first = ours.post(PATH, json=body, headers=headers).raise_for_status()
        assert len(first.json()["argv"]) > len(given), first.text[:300]
        answered.write_bytes(first.content)
        with bare(answered) as url, httpx.Client(base_url=url) as floor:
            took: dict[str, list[float]] = {"preview": [], "floor": []}
            asks = {
                "preview": partial(ours.post, PATH, json=body, headers=headers),
                "floor": partial(floor.get, "/json"),
            }
            for number in range(REQUESTS + WARM):
                for name, ask in asks.items():
                    ms = _once(ask)
                    if number >= WARM:
                        took[name].append(ms)
    return {
        **{f"{name}_ms": percentiles(values) for name, values in took.items()},
        "arguments": len(command.arguments),
        "given": len(given),
        "bytes": len(first.content),
    }
