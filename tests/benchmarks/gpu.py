"""``python -m tests.benchmarks.gpu``: real trainings on this machine's GPUs, through the whole stack.

One GPU: the check before it is offered, a stranger on it, a LoRA fine-tune that is stopped and resumed,
one that runs out of memory, and the time of a step beside the same command without LoRAForge. Two: a
data-parallel training. ``docker``: the same in hardened containers, on a machine whose engine has the
training image (LORAFORGE_SWIFT_IMAGE). Prints JSON, keeps it as var/gpu.json, and ends
with 1 when something is not as it must be. ``--cpu`` tries the program itself without a GPU, with a tiny model.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import pytest

from loraforge.embedded.client import ApiClient, ApiError
from nodeagent.runtimes.container import gpus_of
from tests.benchmarks.gpubox import Box, box_settings, boxed_command, containers_remove, has_image
from tests.benchmarks.stage import ROOT
from tests.e2e.driver import (
    ENDED,
    SWIFT_PYTHON,
    LiveStack,
    dataset_upload,
    job_wait,
    log_all,
    metric_file,
    sft_body,
    stack_running,
    trainer_pids,
    wait_for,
)

MODEL = """
import pathlib, shutil, sys, torch, transformers
small, into, hidden, layers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
old = transformers.AutoConfig.from_pretrained(small)
config = transformers.Qwen2Config(
    vocab_size=old.vocab_size, hidden_size=hidden, intermediate_size=4 * hidden, num_hidden_layers=layers,
    num_attention_heads=hidden // 64, num_key_value_heads=hidden // 128, max_position_embeddings=4096,
    bos_token_id=old.bos_token_id, eos_token_id=old.eos_token_id, pad_token_id=old.pad_token_id)
torch.manual_seed(1)
with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
    model = transformers.Qwen2ForCausalLM(config).to(torch.bfloat16)
model.save_pretrained(into)
for name in ("tokenizer.json", "tokenizer_config.json"):
    shutil.copy(f"{small}/{name}", into)
for file in pathlib.Path(into).iterdir():
    file.chmod(0o644)  # safetensors lets nobody else read, and jobs in containers are another user
print(sum(p.numel() for p in model.parameters()))
"""
STRANGER = """
import sys, time, torch
held = torch.zeros(2**30, dtype=torch.uint8, device="cuda")
print("up", flush=True)
time.sleep(300)
"""
IN_ADVANCE = 5  # steps at the beginning that are slower than all others
GIB = 1024**3
RATIO_AIM = 1.02
IN_TURN = 3  # timed trainings of ours, and as many bare ones
DOCKER = "docker"


class Size(NamedTuple):
    """How large the trial is. steps: of the timed training."""

    hidden: int
    layers: int
    rows: int
    sums: int
    batch: int
    steps: int


REAL = Size(hidden=2048, layers=24, rows=800, sums=64, batch=8, steps=65 + IN_ADVANCE)
TINY = Size(hidden=128, layers=2, rows=64, sums=4, batch=2, steps=12)


class Trial:
    """The stack, a person's client, material, and what was found."""

    def __init__(self, stack: LiveStack, api: ApiClient, material: Path, size: Size) -> None:
        self.stack = stack
        self.api = api
        self.material = material
        self.size = size
        self.dataset: dict[str, Any] = {}
        self.found: dict[str, Any] = {}
        self.wrong: list[str] = []

    def expect(self, what: str, is_so: object) -> None:
        """Note what is not as it must be."""
        if not is_so:
            self.wrong.append(what)
            print(f"NOT SO: {what}", flush=True)

    def body(self, **changes: Any) -> dict[str, Any]:
        """A LoRA fine-tune of the material."""
        arguments = {
            "torch_dtype": "bfloat16",
            "per_device_train_batch_size": self.size.batch,
            "max_length": 2048,
            "lora_rank": 16,
            "max_steps": self.size.steps,
            "save_steps": self.size.steps,
            "gradient_checkpointing": False,
            **changes.pop("arguments", {}),
        }
        return sft_body(self.material, self.dataset["id"], arguments=arguments, **changes)

    def submit(self, **changes: Any) -> int:
        return int(self.api.post("jobs/", self.body(**changes))["id"])

    def devices(self) -> list[dict[str, Any]]:
        (node,) = self.api.pages("nodes/")
        return list(node["devices"])

    def samples(self, job: int) -> list[dict[str, Any]]:
        """The node's readings while the job ran, of the cards that its last attempt held."""
        rows = self.stack.sql(
            'SELECT s.at, s."values", a.devices FROM telemetry_sample s JOIN instances_attempt a'
            " ON a.node_id = s.node_id AND s.at BETWEEN a.running_at AND a.ended_at"
            " WHERE a.instance_id = ? ORDER BY s.at",
            job,
        )
        found = []
        for _at, values, devices in rows:
            plain = json.loads(values) if isinstance(values, str) else values
            held = json.loads(devices) if isinstance(devices, str) else devices
            found += [gpu for gpu in plain["gpus"] if gpu["uuid"] in held]
        return found

    def held(self, job: int) -> list[str]:
        """The devices of a job's last attempt."""
        query = "SELECT devices FROM instances_attempt WHERE instance_id = ? ORDER BY number DESC"
        (found,) = self.stack.sql(query, job)[0]
        return list(json.loads(found) if isinstance(found, str) else found)

    def some_steps(self, job: int) -> None:
        """Wait until it trains; one that ends before is a failure."""

        def trains() -> bool:
            found = self.api.get(f"jobs/{job}/")
            assert found["state"] not in ENDED, f"{found['state']}: {found['failure_reason']}"
            return int(found["step"]) >= IN_ADVANCE

        wait_for("some steps", trains, timeout_s=300)


def offered(trial: Trial) -> None:
    """Each GPU is offered once it has computed right."""
    began = time.monotonic()
    wait_for(
        "the CUDA check of every GPU",
        lambda: all(one["cuda_check"] and not one["blocked"] for one in trial.devices()),
        timeout_s=240,
        every_s=0.5,
    )
    trial.found["offered_after_s"] = round(time.monotonic() - began, 1)
    trial.found["devices"] = [
        {key: one[key] for key in ("name", "uuid", "memory_bytes", "cuda_check")}
        for one in trial.devices()
    ]


def stranger(trial: Trial) -> None:
    """A process that is no job's keeps its GPU from jobs, and one that waits is told so."""
    last = trial.devices()[-1]["uuid"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": last}
    process = subprocess.Popen(
        [str(SWIFT_PYTHON), "-c", STRANGER], env=environment, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        began = time.monotonic()
        wait_for("the stranger to be seen", lambda: trial.devices()[-1]["blocked"], every_s=0.2)
        trial.found["stranger_seen_after_s"] = round(time.monotonic() - began, 1)
        trial.found["stranger"] = trial.devices()[-1]["marks"]
        job = trial.submit(gpus=len(trial.devices()))
        wait_for(
            "the reason of the wait",
            lambda: trial.api.get(f"jobs/{job}/")["wait_reason"] == "scheduling:gpu_blocked",
        )
        trial.api.post(f"jobs/{job}/withdraw/", {})
    finally:
        process.kill()
        process.wait()
    wait_for("the GPU to be free again", lambda: not trial.devices()[-1]["blocked"])


def stopped_and_resumed(trial: Trial, *, box: Box | None = None) -> None:
    """Stop with a checkpoint in mid-run; the next attempt goes on behind it to the end. box: looks at it."""
    job = trial.submit(name="stopped and resumed", arguments={"save_steps": 1000})
    trial.some_steps(job)
    if box is not None:
        folder = trial.stack.job_folder(job)
        trial.found["container"], wrong = box.look(folder, trial.held(job))
        for what in wrong:
            trial.expect(what, is_so=False)
    trial.api.post(f"jobs/{job}/stop/", {})
    stopped = job_wait(trial.api, job, timeout_s=120)
    saved = stopped["saved_step"]
    trial.expect("stopped with a checkpoint", stopped["state"] == "stopped" and saved)
    trial.expect("the GPU is free after it", not any(one["busy"] for one in trial.devices()))
    trial.api.post(f"jobs/{job}/resume/", {})
    ended = job_wait(trial.api, job, timeout_s=300)
    trial.expect("resumed to the end", ended["state"] == "succeeded")
    rows = metric_file(trial.stack.job_folder(job, 2))
    steps = [int(str(row["global_step/max_steps"]).split("/")[0]) for row in rows if "loss" in row]
    trial.expect("goes on behind the checkpoint", steps and steps[0] == saved + 1)
    first = metric_file(trial.stack.job_folder(job, 1))
    losses = [row["loss"] for row in [*first, *rows] if "loss" in row]
    trial.found["resumed"] = {
        "saved_step": saved,
        "loss_around": losses[max(0, saved - 3) : saved + 3],
        "loss_first_last": [losses[0], losses[-1]],
    }
    readings_note(trial, "resumed", trial.samples(job))


def readings_note(trial: Trial, name: str, samples: list[dict[str, Any]]) -> None:
    """What the kept readings say of each card of a job."""
    trial.found[name]["cards"] = cards = []
    for uuid in sorted({one["uuid"] for one in samples}):
        mine = [one for one in samples if one["uuid"] == uuid]
        busy = sorted(one["utilization_percent"] or 0 for one in mine)
        cards.append(
            {
                "uuid": uuid,
                "samples": len(mine),
                "utilization_median_max": [busy[len(busy) // 2], busy[-1]],
                "memory_max_gib": round(
                    max(one["memory_used_bytes"] or 0 for one in mine) / GIB, 1
                ),
                "temperature_max_c": max(one["temperature_c"] or 0 for one in mine),
                "power_max_w": max(one["power_w"] or 0 for one in mine),
                "clock_max_mhz": max(one["clock_mhz"] or 0 for one in mine),
                "slowed_by": sorted({why for one in mine for why in one["slowed_by"]}),
            }
        )


def out_of_memory(trial: Trial, keep: Path) -> None:
    """A batch that no card takes: the reason is told, and the card is free again."""
    rows = trial.size.rows
    job = trial.submit(
        name="too large",
        arguments={"per_device_train_batch_size": rows, "split_dataset_ratio": 0, "max_steps": 2},
    )
    ended = job_wait(trial.api, job, timeout_s=240)
    lines = log_all(trial.api, job)
    keep.write_text("\n".join(lines) + "\n", encoding="utf-8")
    said = next((line for line in reversed(lines) if "OutOfMemoryError" in line), "")
    trial.found["out_of_memory"] = {"reason": ended["failure_reason"], "said": said}
    trial.expect(
        "out of memory is told", ended["failure_reason"] == "user:gpu_out_of_memory" and said
    )
    wait_for("the card to be free", lambda: not any(one["blocked"] for one in trial.devices()))


def step_s(rows: list[dict[str, Any]]) -> float:
    """Mean time of a step behind the first ones, by SWIFT's own running mean."""
    means = [
        row["train_speed(s/it)"] for row in rows if "train_speed(s/it)" in row and "loss" in row
    ]
    whole = [mean * (place + 1) for place, mean in enumerate(means)]
    return float(whole[-1] - whole[IN_ADVANCE - 1]) / (len(whole) - IN_ADVANCE)


def bare_argv(command: list[str], material: Path, output: Path) -> list[str]:
    """The trainer's own command less what is ours, on the same model and data by their own paths."""
    argv, skipping = [], False
    for word in command:
        if word.startswith("--"):
            skipping = word in {"--external_plugins", "--callbacks"}
        if not skipping:
            argv.append(word)
    places = {
        "--model": material / "model",
        "--dataset": material / "data.jsonl",  # the inputs of an ended job are gone
        "--output_dir": output,
        "--logging_dir": output / "runs",
    }
    for name, place in places.items():
        argv[argv.index(name) + 1] = str(place)
    return [str(SWIFT_PYTHON), *argv[argv.index("-m") :]]


def plain_command(folder: Path) -> list[str]:
    """Of the plain process that trains into this folder, empty while there is none."""
    pids = trainer_pids(folder)
    return psutil.Process(pids[-1]).cmdline() if pids else []


def beside_bare(trial: Trial, command_of: Callable[[Path], list[str]]) -> None:
    """The same command with and without LoRAForge, in turn. command_of: what trains into a job's folder."""
    timed: dict[str, list[float]] = {"ours": [], "bare": []}
    caught: list[str] = []
    cards: set[str] = set()

    def note(name: str, rows: list[dict[str, Any]]) -> None:
        timed[name].append(step_s(rows))
        print(f"a step, {name}: {1000 * timed[name][-1]:.2f} ms", flush=True)

    def ours() -> None:
        job = trial.submit(name="timed")
        folder = trial.stack.job_folder(job)
        if not caught:
            caught.extend(wait_for("the trainer", lambda: command_of(folder), timeout_s=120))
        ended = job_wait(trial.api, job, timeout_s=300)
        trial.expect("the timed training succeeds", ended["state"] == "succeeded")
        cards.update(trial.held(job))
        trial.expect("all timed trainings had the same card", len(cards) == 1)
        note("ours", metric_file(folder))
        trial.found["timed"] = {}
        readings_note(trial, "timed", trial.samples(job))

    def bare() -> None:
        output = Path(tempfile.mkdtemp(dir=trial.material))
        argv = bare_argv(caught, trial.material, output)
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(gpus_of([*cards]))}
        done = subprocess.run(
            argv, env=environment, cwd=output, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        lines = next(output.rglob("logging.jsonl")).read_text().splitlines()
        note("bare", [json.loads(line) for line in lines])

    for turn in (ours, bare) * IN_TURN:
        turn()
    median = {name: statistics.median(values) for name, values in timed.items()}
    ratio = median["ours"] / median["bare"]
    trial.found["timed"] |= {
        "step_ms": {
            name: [round(1000 * one, 2) for one in values] for name, values in timed.items()
        },
        "ratio": round(ratio, 4),
        "steps": trial.size.steps - IN_ADVANCE,
    }
    trial.found["timed"]["within_aim"] = ratio <= RATIO_AIM


def data_parallel(trial: Trial) -> None:
    """One training over two GPUs: both leased, both busy."""
    job = trial.submit(name="two GPUs", gpus=2, processes=2)
    trial.some_steps(job)
    trial.expect("both are leased", sum(one["busy"] for one in trial.devices()) == 2)
    ended = job_wait(trial.api, job, timeout_s=300)
    rows = metric_file(trial.stack.job_folder(job))
    losses = [row["loss"] for row in rows if "loss" in row]
    trial.found["two"] = {"state": ended["state"], "loss_first_last": [losses[0], losses[-1]]}
    trial.found["two"]["step_ms"] = round(1000 * step_s(rows), 2)
    trial.expect("it succeeds", ended["state"] == "succeeded")
    readings_note(trial, "two", trial.samples(job))
    cards = trial.found["two"]["cards"]
    is_busy = [
        card["utilization_median_max"][1] > 0 and card["memory_max_gib"] > 1 for card in cards
    ]
    trial.expect("both are busy in the readings", is_busy == [True, True] or not cards)
    trial.expect("both are free after it", not any(one["busy"] for one in trial.devices()))


def material_make(folder: Path, size: Size) -> None:
    """A model of random weights and sums in words, by the project's own tool, and larger ones of both."""
    subprocess.run(
        [str(SWIFT_PYTHON), "tools/demo_material.py", str(folder / "small")], cwd=ROOT, check=True
    )
    into = folder / "model"
    words = [str(folder / "small" / "model"), str(into), str(size.hidden), str(size.layers)]
    made = subprocess.run(
        [str(SWIFT_PYTHON), "-c", MODEL, *words], check=True, capture_output=True, text=True
    )
    print(f"model of {int(made.stdout.split()[-1]) / 1e6:.0f} million weights", flush=True)
    config = into / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_max_length": 4096}))
    sums = [f"{a} plus {b} is {a + b}." for a in range(40) for b in range(40)]
    with (folder / "data.jsonl").open("w", encoding="utf-8") as file:
        for row in range(size.rows):
            answer = " ".join(sums[(row * 7 + place) % len(sums)] for place in range(size.sums))
            messages = [
                {"role": "user", "content": f"sums {row}"},
                {"role": "assistant", "content": answer},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")


@contextmanager
def trial_running(size: Size, **settings: str) -> Iterator[Trial]:
    """Everything that the parts need. settings: of the stack."""
    with tempfile.TemporaryDirectory(prefix="lf-gpu-") as name:
        material = Path(name) / "demo"
        material.mkdir()
        material_make(material, size)
        with stack_running(Path(name) / "d", material, **settings) as stack:
            stack.user_add("alice")
            with stack.api("alice") as api:
                trial = Trial(stack, api, material, size)
                trial.dataset = dataset_upload(api, material / "data.jsonl")
                yield trial


def main() -> int:
    """Every part that this machine has the GPUs for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts, by default all that the machine can")
    parser.add_argument(
        "--cpu", action="store_true", help="tries the program itself, without a GPU"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "var", help="folder of what is kept")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    size = TINY if given.cpu else REAL
    whole: dict[str, Any] = {}
    if set(given.names) != {DOCKER}:
        with trial_running(size) as trial:
            whole = trial.found
            parts = parts_of(trial, given.out, is_cpu=given.cpu)
            names = [name for name in parts if name in (given.names or parts)]
            parts_run(trial, [parts[name] for name in names], whole, given.out)
    if DOCKER in given.names or (not given.names and has_image()):
        with trial_running(size, **box_settings(is_cpu=given.cpu)) as trial:
            whole[DOCKER] = trial.found
            parts_run(trial, parts_in_box(trial, is_cpu=given.cpu), whole, given.out)
        containers_remove(trial.stack.data)
    print(json.dumps(whole, indent=1))
    return 1 if whole.get("wrong") or whole.get(DOCKER, {}).get("wrong") else 0


def parts_run(
    trial: Trial, parts: list[Callable[[], None]], whole: dict[str, Any], out: Path
) -> None:
    """One after the other; one that fails leaves the others. whole: kept after each."""
    for part in parts:
        try:
            part()
        except (
            AssertionError,
            pytest.fail.Exception,
            ApiError,
            OSError,
            LookupError,
            ValueError,
            httpx.HTTPError,
            psutil.Error,
        ) as error:
            trial.expect(f"{type(error).__name__}: {error}"[:3000], is_so=False)
        trial.found["wrong"] = trial.wrong
        # a machine that is lent may be taken back in mid-run
        (out / "gpu.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def parts_of(trial: Trial, out: Path, *, is_cpu: bool) -> dict[str, Callable[[], None]]:
    """What this machine has the GPUs for."""
    known: dict[str, Callable[[], None]] = {
        "offered": partial(offered, trial),
        "stranger": partial(stranger, trial),
        "two": partial(data_parallel, trial),
        "resumed": partial(stopped_and_resumed, trial),
        "memory": partial(out_of_memory, trial, out / "out-of-memory.log"),
        "timed": partial(beside_bare, trial, plain_command),
    }
    left_out = {"offered", "stranger", "memory"} if is_cpu else set()
    if len(trial.devices()) == 1:
        left_out.add("two")
    return {name: part for name, part in known.items() if name not in left_out}


def parts_in_box(trial: Trial, *, is_cpu: bool) -> list[Callable[[], None]]:
    """What is done in containers."""
    parts: list[Callable[[], None]] = [] if is_cpu else [partial(offered, trial)]
    parts.append(partial(stopped_and_resumed, trial, box=Box()))
    if len(trial.devices()) > 1:
        parts.append(partial(data_parallel, trial))
    return [*parts, partial(beside_bare, trial, boxed_command)]


if __name__ == "__main__":
    sys.exit(main())
