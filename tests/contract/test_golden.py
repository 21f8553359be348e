"""One golden file for every message: what today's code writes and reads is what was agreed on.

A new field with a default leaves these files valid; a changed or lost field fails here. To add a
message, add it to MESSAGES and write its file by `UPDATE_GOLDEN=1 pytest tests/contract`.
"""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nodeagent.contract import joining, reports
from nodeagent.contract.commands import (
    Checkpoint,
    Discard,
    Fetch,
    Input,
    Mount,
    Peer,
    Remove,
    SecretInput,
    Source,
    Stage,
    Start,
    Stop,
    command_dump,
    command_load,
    command_parse,
)
from nodeagent.contract.gpus import GpuCheck, GpuMark, GpuState
from nodeagent.contract.phases import Outcome, Phase

GOLDEN = Path(__file__).parent / "golden" / "v1"
GPU = "GPU-8f6d1c1e-0000-0000-0000-000000000001"

COMMANDS: dict[str, Any] = {
    "command_start": Start(
        id="01J-start",
        instance=41,
        attempt=2,
        argv=["-m", "swift.cli.sft", "--model", "/lf/model", "--output_dir", "/lf/job/output"],
        devices=[GPU],
        spec_hash="ab" * 32,
        env={"CB_EVENTS": "/lf/job/events.jsonl"},
        inputs=[
            Input(
                target="/lf/inputs/data.jsonl",
                url="/api/v1/agent/inputs/5/?sig=x",
                sha256="cd" * 32,
                size_bytes=1234,
            )
        ],
        mounts=[Mount(target="/lf/model", path="/models/qwen")],
        processes=2,
        image="swift@sha256:00",
        save_every_s=300,
        fence_after_s=540,
        fence_grace_s=270,
        disk_bytes=500_000_000_000,
        issued_at=1700000000.5,
    ),
    "command_start_resumed": Start(
        id="01J-resume",
        instance=41,
        attempt=3,
        argv=["-m", "swift.cli.sft", "--resume_from_checkpoint", "/lf/inputs/checkpoint-40"],
        devices=[GPU],
        spec_hash="ac" * 32,
        inputs=[
            Input(
                target="/lf/inputs/checkpoint-40/optimizer.pt",
                url="/api/v1/agent/inputs/files/x/",
                sha256="cd" * 32,
                size_bytes=1234,
                source=Source(instance=41, attempt=2, path="output/checkpoint-40/optimizer.pt"),
            )
        ],
        issued_at=1700000000.5,
    ),
    "command_start_hub": Start(
        id="01J-start",
        instance=42,
        attempt=1,
        argv=["-m", "swift.cli.sft", "--model", "/lf/model", "--dataset", "/lf/data/0/rows#500"],
        devices=["cpu-0"],
        spec_hash="ab" * 32,
        fetches=[
            Fetch(
                target="/lf/model",
                kind="model",
                hub="huggingface",
                repo="org/name",
                revision="main",
                subfolder="sub",
                token_url="/api/v1/agent/inputs/secrets/x/",
                user="7",
            ),
            Fetch(target="/lf/data/0/rows", kind="dataset", hub="modelscope", repo="org/rows"),
        ],
        network=True,
        secrets=[SecretInput(name="WANDB_API_KEY", url="/api/v1/agent/inputs/secrets/y/")],
    ),
    "command_stop": Stop(
        id="01J-stop",
        instance=41,
        attempt=2,
        mode="save",
        grace_s=20.0,
        save_max_s=600.0,
        issued_at=1700000001.5,
    ),
    "command_checkpoint": Checkpoint(id="01J-c", instance=41, attempt=2, issued_at=1700000002.5),
    "command_remove": Remove(id="01J-r", instance=41, attempt=2, issued_at=1700000003.5),
    "command_discard": Discard(id="discard-1", hashes=["ab" * 32], issued_at=1700000004.5),
    "command_stage": Stage(
        id="stage-m7-2-40",
        instance=41,
        attempt=3,
        inputs=[
            Input(
                target="/lf/inputs/checkpoint-40/optimizer.pt",
                url="/api/v1/agent/inputs/files/x/",
                sha256="cd" * 32,
                size_bytes=1234,
                peer=Peer(
                    url="http://n1:7070/jobs/41/a2/output/checkpoint-40/optimizer.pt",
                    token="1700000300.node-n2.ab",
                ),
            )
        ],
        mounts=[Mount(target="/lf/model", path="/models/qwen")],
        fetches=[Fetch(target="/lf/model", kind="model", hub="huggingface", repo="org/name")],
        fetches_optional=True,
        image="swift@sha256:00",
        issued_at=1700000004.5,
    ),
}

BODIES: dict[str, tuple[reports.Stream, reports.Body]] = {
    "chunk": ("log", reports.Chunk(data=b"loss\r\x00\xff\n")),
    "gap": ("log", reports.Gap(lines=1234)),
    "phase": (
        "phase",
        reports.PhaseChange(
            phase=Phase.ENDED,
            detail="why",
            reason="node:rebooted",
            exit_code=137,
            killed_by=9,
            outcome=Outcome.STOPPED,
            pid=4711,
            sizes={"log": 10, "metric": 20, "event": 30},
        ),
    ),
    "steps": (
        "phase",
        reports.PhaseChange(
            phase=Phase.PREPARING,
            steps=[
                reports.Step(name="image", began=1700000000.5, ended=1700000002.5),
                reports.Step(
                    name="model",
                    began=1700000002.5,
                    done_bytes=21,
                    total_bytes=56,
                    detail="Qwen/Qwen3",
                ),
            ],
        ),
    ),
    "result": (
        "result",
        reports.CommandResult(
            command="01J-start", kind="start", error="device:busy", message="cpu-0 is used."
        ),
    ),
    "files": (
        "files",
        reports.Files(
            files=[
                reports.File(
                    path="output/adapter.bin", size_bytes=5, sha256="ef" * 32, modified_at=1.5
                )
            ],
            complete=True,
            skipped=1,
        ),
    ),
    "files_running": (
        "files",
        reports.Files(
            files=[
                reports.File(
                    path="output/checkpoint-8/optimizer.pt",
                    size_bytes=5,
                    sha256="ef" * 32,
                    modified_at=1.5,
                    is_cut=True,
                )
            ],
            complete=False,
        ),
    ),
    "sample": (
        "sample",
        reports.Sample(
            host=reports.HostSample(
                cpu_percent=12.5,
                memory_used_bytes=1,
                memory_total_bytes=2,
                disk_free_bytes=3,
                disk_total_bytes=4,
                load_1m=0.5,
            ),
            gpus=[
                reports.GpuSample(
                    uuid=GPU,
                    utilization_percent=92.0,
                    memory_used_bytes=1,
                    memory_total_bytes=2,
                    temperature_c=61.0,
                    power_w=300.5,
                ),
                reports.GpuSample(uuid=GPU),
            ],
            jobs=[
                reports.JobSample(
                    instance=41, attempt=2, cpu_percent=99.0, memory_bytes=5, processes=2
                )
            ],
        ),
    ),
    "heartbeat_staged": (
        "heartbeat",
        reports.Heartbeat(
            boot_id="b-1",
            agent_version="0.1.0",
            staged=[
                reports.Staged(
                    id="stage-m7-2-40",
                    done_bytes=1234,
                    total_bytes=1234,
                    digest=reports.staged_digest(["CD" * 32, "ab" * 32, "ab" * 32]),
                ),
                reports.Staged(
                    id="stage-m8-1-10", error="model:not_found", detail="There is no x."
                ),
            ],
        ),
    ),
    "heartbeat": (
        "heartbeat",
        reports.Heartbeat(
            boot_id="b-1",
            agent_version="0.1.0",
            held=[
                reports.Held(
                    instance=41, attempt=2, phase=Phase.RUNNING, spec_hash="ab", fenced_after_s=810
                )
            ],
            unknown=["lf-9-a1"],
            file_url="http://10.0.0.5:7000",
            dropped_lines=0,
            mark="b-1:1700000",
            disk_free_bytes=400_000_000_000,
            disk_total_bytes=1_000_000_000_000,
            cached=["ab" * 32],
        ),
    ),
    "heartbeat_models": (
        "heartbeat",
        reports.Heartbeat(
            boot_id="b-1", agent_version="0.1.0", models=["huggingface:org/tiny@0123abcd"]
        ),
    ),
    "heartbeat_gpus": (
        "heartbeat",
        reports.Heartbeat(
            boot_id="b-1",
            agent_version="0.1.0",
            gpus=[
                GpuState(
                    uuid=GPU,
                    marks=[
                        GpuMark(kind="gpu:foreign", detail="python (pid 7, 3.0 GiB)"),
                        GpuMark(kind="gpu:hot", detail="86 °C", blocks=False),
                    ],
                    check=GpuCheck(ok=True, torch="2.13.0", tflops=400.5, at=1700000000.5),
                )
            ],
        ),
    ),
    "phase_dirty": (
        "phase",
        reports.PhaseChange(phase=Phase.ENDED, exit_code=0, dirty={GPU: "9.0 GiB are not free."}),
    ),
    "sample_gpu": (
        "sample",
        reports.Sample(
            host=reports.HostSample(
                cpu_percent=12.5,
                memory_used_bytes=1,
                memory_total_bytes=2,
                disk_free_bytes=3,
                disk_total_bytes=4,
            ),
            gpus=[
                reports.GpuSample(
                    uuid=GPU,
                    slowdown_c=89.0,
                    clock_mhz=1980.0,
                    slowed_by=["sw_power_cap"],
                    ecc_uncorrected=0,
                )
            ],
        ),
    ),
}
REPORTS: dict[str, Any] = {
    f"report_{name}": reports.Report(
        node="n1",
        stream=stream,
        body=body,
        instance=41,
        attempt=2,
        start=100,
        end=107,
        at=1700000000.25,
    )
    for name, (stream, body) in BODIES.items()
}
JOINS: dict[str, Any] = {
    "join_request": joining.JoinRequest(
        node="n1",
        boot_id="b-1",
        agent_version="0.1.0",
        runtime="process",
        hostname="host",
        file_url="http://10.0.0.5:7000",
        clock=1700000000.25,
        cpu_count=2,
        memory_bytes=3,
        disk_total_bytes=4,
        disk_free_bytes=5,
        gpus=[joining.Gpu(uuid=GPU, index=0, name="H200", memory_bytes=6)],
        cpu_slots=2,
        model_roots=["/models"],
        driver_version="580.1",
        swift_version="4.6.0",
    ),
    "join_request_gpus": joining.JoinRequest(
        node="n1",
        boot_id="b-1",
        agent_version="0.1.0",
        runtime="docker",
        hostname="host",
        file_url="http://10.0.0.5:7000",
        clock=1700000000.25,
        cpu_count=2,
        memory_bytes=3,
        disk_total_bytes=4,
        disk_free_bytes=5,
        gpus=[
            joining.Gpu(
                uuid=GPU,
                index=0,
                name="H200",
                memory_bytes=6,
                marks=[GpuMark(kind="gpu:unchecked", detail="To come.")],
            )
        ],
        gpu_mode="raw",
    ),
    "join_answer": joining.JoinAnswer(
        cluster="c-1",
        redis_url="unix:///run/redis.sock?db=0",
        file_key="00ff",
        clock=1700000000.5,
        heartbeat_s=5.0,
        sample_s=2.0,
    ),
}
MESSAGES = {**COMMANDS, **REPORTS, **JOINS}


def golden(name: str) -> bytes:
    path = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_bytes(msgspec.json.format(msgspec.json.encode(MESSAGES[name]), indent=2) + b"\n")
    return path.read_bytes()


def assert_kept(agreed: Any, written: Any) -> None:
    """All that was agreed on is written; newer fields may stand beside it."""
    if isinstance(agreed, dict):
        for key, value in agreed.items():
            assert key in written
            assert_kept(value, written[key])
    elif isinstance(agreed, list):
        for one, other in zip(agreed, written, strict=True):
            assert_kept(one, other)
    else:
        assert agreed == written


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_written(name: str) -> None:
    written = msgspec.json.decode(msgspec.json.encode(MESSAGES[name]))
    assert_kept(msgspec.json.decode(golden(name)), written)


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_read(name: str) -> None:
    assert msgspec.json.decode(golden(name), type=type(MESSAGES[name])) == MESSAGES[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_by_their_own_door(name: str) -> None:
    assert command_parse(golden(name)) == COMMANDS[name]
    assert command_load(msgspec.json.decode(golden(name))) == COMMANDS[name]
    assert command_load(command_dump(COMMANDS[name])) == COMMANDS[name]


@pytest.mark.parametrize("name", REPORTS)
def test_reports_as_they_travel(name: str) -> None:
    assert reports.report_unpack(reports.report_pack(REPORTS[name])) == REPORTS[name]


@pytest.mark.parametrize("name", MESSAGES)
def test_fields_of_a_newer_release_are_ignored(name: str) -> None:
    plain = msgspec.json.decode(golden(name))
    plain["newer"] = {"a": [1]}
    assert msgspec.convert(plain, type(MESSAGES[name]), strict=False) is not None


def test_every_golden_file_is_used() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(MESSAGES)


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x80", b"rubbish"])
def test_poison_is_refused_by_its_type(raw: bytes) -> None:
    with pytest.raises((msgspec.ValidationError, msgspec.DecodeError)):
        reports.report_unpack(raw)
