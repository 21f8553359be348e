"""Estimates beside real runs (measured_memory.json), and the arithmetic of steps and checkpoints."""

import json
import statistics
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loraforge.swift.estimating.memory import Plan, memory_of
from loraforge.swift.estimating.runs import (
    Schedule,
    checkpoint_bytes,
    checkpoints_kept,
    steps_of,
)
from loraforge.swift.estimating.shapes import Shape, parameters_named, shape_named

MEASURED = json.loads(Path(__file__).with_name("measured_memory.json").read_text())
RUNS: list[dict[str, Any]] = MEASURED["runs"]
SHAPES = {
    name: msgspec.convert(plain, Shape, strict=True) for name, plain in MEASURED["shapes"].items()
}


def plan_of(run: dict[str, Any]) -> Plan:
    return Plan(
        shape=SHAPES[run["size"]],
        is_full=run["tuner"] == "full",
        bits=run["bits"],
        rank=run["rank"],
        batch=run["batch"],
        length=run["length"],
        checkpointing=run["checkpointing"],
        method=run["method"],
    )


def ratio_of(run: dict[str, Any]) -> float:
    return float(memory_of(plan_of(run)).total / run["peak_bytes"])


def test_the_runs_cover_sizes_methods_and_lengths() -> None:
    seen = {(run["size"], run["tuner"], run["length"]) for run in RUNS if run["checkpointing"]}
    wanted = {
        (size, tuner, length)
        for size in ("0.5B", "1.5B", "3B")
        for tuner in ("lora", "full")
        for length in (512, 2048)
    }
    assert wanted <= seen


def test_an_estimate_is_hardly_ever_too_low_and_seldom_far_too_high() -> None:
    ratios = [ratio_of(run) for run in RUNS]
    enough = sum(ratio >= 1 for ratio in ratios) / len(ratios)
    assert enough >= 0.95, sorted(ratios)[:4]
    assert statistics.median(ratios) <= 1.4


def test_a_checkpoint_is_as_large_as_measured() -> None:
    runs = [run for run in RUNS if run["checkpoint_bytes"] and run["targets"] == "all-linear"]
    assert len(runs) > 20
    for run in runs:
        shape, is_full = SHAPES[run["size"]], run["tuner"] == "full"
        trained = shape.parameters if is_full else shape.lora_parameters(run["rank"])
        told = checkpoint_bytes(
            trained=trained, is_full=is_full, width=run["bits"] // 8, model_only=False
        )
        assert run["checkpoint_bytes"] <= told <= run["checkpoint_bytes"] + 17 * 10**6


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        ({"batch": 4}, 1),
        ({"checkpointing": False}, 1),
        ({"bits": 32}, 1),
        ({"bits": 4}, -1),
        ({"is_full": True}, 1),
        ({"length": 256}, -1),
        ({"method": "dpo"}, 1),
        ({"is_eager": True}, 1),
    ],
)
def test_each_choice_moves_the_estimate_its_way(change: dict[str, Any], sign: int) -> None:
    plan = Plan(shape=SHAPES["7B"], length=2048)
    before = memory_of(plan).total
    after = memory_of(msgspec.structs.replace(plan, **change)).total
    assert (after - before) * sign > 0


def test_sharding_spreads_more_and_more() -> None:
    plan = Plan(shape=SHAPES["7B"], is_full=True, length=512, world=8)
    totals = [
        memory_of(msgspec.structs.replace(plan, sharding=sharding)).total
        for sharding in ("zero1", "zero2", "zero3")
    ]
    assert totals == sorted(totals, reverse=True)
    offloaded = memory_of(msgspec.structs.replace(plan, sharding="zero2", offloads=True)).total
    assert offloaded < totals[1]


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", 7 * 10**9),
        ("Qwen/Qwen3-0.6B", 600 * 10**6),
        ("/models/llama-350m/", 350 * 10**6),
        ("Qwen/Qwen3-30B-A3B", 30 * 10**9),
        ("org/32B-things/model", None),
        ("google/gemma-3n-E4B", None),
        ("", None),
    ],
)
def test_the_size_in_a_name(model: str, parameters: int | None) -> None:
    assert parameters_named(model) == parameters


def test_a_shape_by_name_is_the_common_one_or_the_next_larger() -> None:
    seven = shape_named("Qwen/Qwen2.5-7B")
    assert seven is not None
    assert (seven.parameters, seven.hidden) == (7_615_616_512, 3584)
    nine = shape_named("x/y-9B")
    assert nine is not None
    assert (nine.parameters, nine.layers) == (9 * 10**9, 48)
    large = shape_named("x/y-405B")
    assert large is not None
    assert large.parameters == 405 * 10**9
    assert shape_named("my-model") is None


def test_steps() -> None:
    assert steps_of(Schedule(rows=1000, batch=2, accumulation=8, epochs=1)) == 63
    assert (
        steps_of(Schedule(rows=1000, split=0.1, batch=1, accumulation=8, world=2, epochs=3)) == 171
    )
    assert steps_of(Schedule(rows=1000, max_steps=10)) == 10
    assert steps_of(Schedule(rows=1000, packs=True)) is None
    assert steps_of(Schedule(rows=None)) is None


def test_checkpoints_that_stay() -> None:
    def kept(**changes: Any) -> int | None:
        plain: dict[str, Any] = {
            "steps": 1200,
            "every": 500,
            "strategy": "steps",
            "epochs": 3,
            "limit": None,
        }
        return checkpoints_kept(**(plain | changes))

    assert kept() == 3
    assert kept(limit=1) == 2
    assert kept(strategy="epoch") == 3
    assert kept(strategy="no") == 0
    assert kept(every=0.5) == 2
    assert kept(steps=None) is None
