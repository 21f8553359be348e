"""The real ms-swift under the agent: a fine-tune that outlives its agent, and one that is stopped."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from nodeagent.contract.commands import Fetch, Mount, Start, Stop
from nodeagent.contract.phases import Outcome, Phase
from tests.agent.plane import ROOT, AgentProcess, Plane, start_command, wait_for
from tests.hubserver import Hub, Repo

pytestmark = [pytest.mark.swift, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(300)]

PYTHON = ROOT / ".venv-swift" / "bin" / "python"
STOPPED_EXIT_CODE = 75


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert PYTHON.exists(), f"No training environment at {PYTHON}: see requirements/swift-cpu.in"
    folder = tmp_path_factory.mktemp("material")
    subprocess.run(
        [str(PYTHON), str(ROOT / "tools" / "demo_material.py"), str(folder)],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return folder


@pytest.fixture
def swift_agent(plane: Plane, tmp_path: Path, material: Path) -> Iterator[AgentProcess]:
    agent = AgentProcess(
        plane, tmp_path / "node", models=material, LORAFORGE_SWIFT_PYTHON=str(PYTHON)
    )
    yield agent.start()
    agent.close()


def fine_tune(material: Path, *, steps: int) -> Start:
    flags = {
        "model": "/lf/model",
        "model_type": "qwen2",
        "template": "qwen2_5",
        "torch_dtype": "float32",
        "tuner_type": "lora",
        "dataset": "/lf/data/data.jsonl#60",
        "max_steps": steps,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "logging_steps": 1,
        "save_steps": steps,
        "max_length": 128,
        "dataloader_num_workers": 0,
        "check_model": "false",
        "report_to": "none",
        "add_version": "false",
        "output_dir": "/lf/job/output",
        "external_plugins": "/lf/plugin/platform_callback.py",
        "callbacks": "platform",
    }
    argv = ["-m", "swift.cli.sft"]
    for name, value in flags.items():
        argv += [f"--{name}", str(value)]
    return start_command(
        1,
        argv,
        env={
            "CB_EVENTS": "/lf/job/events.jsonl",
            "CB_CONTROL_DIR": "/lf/job/control",
            "CB_EXIT_CODE": str(STOPPED_EXIT_CODE),
            "HF_HUB_OFFLINE": "1",
        },
        mounts=[
            Mount(target="/lf/model", path=str(material / "model")),
            Mount(target="/lf/data", path=str(material)),
        ],
    )


def steps_seen(plane: Plane) -> int:
    return plane.bytes_of(1, 1, "metric").count(b'"loss"')


def test_a_fine_tune_survives_its_agent(
    plane: Plane, swift_agent: AgentProcess, material: Path
) -> None:
    plane.send(fine_tune(material, steps=60))
    pid = plane.wait_phase(Phase.RUNNING, 1).pid
    wait_for(lambda: steps_seen(plane) >= 3, timeout_s=120, what="three steps")
    swift_agent.kill()
    swift_agent.start()
    ended = plane.wait_whole(1, timeout_s=150)
    assert (ended.exit_code, ended.outcome, ended.pid) == (0, Outcome.TRAIN_END, pid)
    assert not plane.gaps
    folder = swift_agent.folder / "jobs/1/a1"
    assert plane.bytes_of(1, 1, "log") == (folder / "console.log").read_bytes()
    assert plane.bytes_of(1, 1, "metric") == (folder / "output/logging.jsonl").read_bytes()
    rows = [json.loads(line) for line in plane.bytes_of(1, 1, "metric").splitlines()]
    assert [row["global_step/max_steps"] for row in rows if "loss" in row] == [
        f"{step}/60" for step in range(1, 61)
    ]
    manifest = plane.manifests(1)[-1]
    paths = {file.path for file in manifest.files}
    assert "output/checkpoint-60/adapter_model.safetensors" in paths
    assert manifest.complete


def test_a_stop_saves_a_checkpoint(plane: Plane, swift_agent: AgentProcess, material: Path) -> None:
    plane.send(fine_tune(material, steps=5000))
    wait_for(lambda: steps_seen(plane) >= 2, timeout_s=120, what="two steps")
    plane.send(Stop(id="stop-1", instance=1, attempt=1, mode="save", grace_s=60))
    ended = plane.wait_whole(1, timeout_s=90)
    assert (ended.exit_code, ended.outcome) == (STOPPED_EXIT_CODE, Outcome.STOPPED)
    adapters = [
        file.path
        for file in plane.manifests(1)[-1].files
        if file.path.endswith("adapter_model.safetensors")
    ]
    assert adapters


def test_a_fine_tune_of_a_hub_s_model_on_a_hub_s_dataset(
    plane: Plane, tmp_path: Path, material: Path
) -> None:
    """Fetched beforehand: the trainer itself is told that there is no hub."""
    model = {one.name: one.read_bytes() for one in (material / "model").iterdir() if one.is_file()}
    rows = {"data.jsonl": (material / "data.jsonl").read_bytes()}
    hub = Hub({("models", "org/tiny"): Repo(model), ("datasets", "org/rows"): Repo(rows)})
    agent = AgentProcess(
        plane,
        tmp_path / "node",
        models=material,
        LORAFORGE_SWIFT_PYTHON=str(PYTHON),
        **hub.environ,
    ).start()
    try:
        start = fine_tune(material, steps=3)
        argv = [one.replace("/lf/data/data.jsonl", "/lf/data/0/rows") for one in start.argv]
        fetches = [
            Fetch(target="/lf/model", kind="model", hub="huggingface", repo="org/tiny"),
            Fetch(target="/lf/data/0/rows", kind="dataset", hub="modelscope", repo="org/rows"),
        ]
        env = {**start.env, "HF_DATASETS_OFFLINE": "1"}
        plane.send(msgspec.structs.replace(start, argv=argv, env=env, mounts=[], fetches=fetches))
        ended = plane.wait_whole(1, timeout_s=200)
        assert ended.exit_code == 0, plane.bytes_of(1, 1, "log")[-3000:]
        assert ended.outcome is Outcome.TRAIN_END
        assert steps_seen(plane) >= 3
    finally:
        agent.close()
        hub.close()
