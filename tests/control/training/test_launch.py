"""The launch of an attempt: the frozen argv plus what the devices decide, and never two ways."""

import pytest

from loraforge.accounts.models import User
from loraforge.nodes.models import DeviceKind
from loraforge.swift.compiler import compile_argv
from loraforge.training import services
from loraforge.training.checks import draft_check
from loraforge.training.freezing import platform_arguments
from loraforge.training.launch import launch_argv, launch_freeze
from loraforge.training.models import Job
from nodeagent.contract import paths
from tests.factories.training import draft_for

pytestmark = pytest.mark.django_db


def flags(argv: list[str]) -> dict[str, list[str]]:
    """flag -> values, whatever their order."""
    found: dict[str, list[str]] = {}
    for word in argv:
        if word.startswith("--"):
            found[word] = []
        elif found:
            found[list(found)[-1]].append(word)
    return found


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("kind", list(DeviceKind))
def test_it_is_what_the_compiler_makes_for_these_devices(
    alice: User, kind: DeviceKind, processes: int
) -> None:
    draft = draft_for(alice, arguments={"lora_rank": 8, "system": "--not a flag"}, gpus=2)
    job = services.job_submit(actor=alice, draft=draft, start=False)
    verdict = draft_check(user=alice, draft=draft)
    platform = platform_arguments(verdict, rows=job.job_datasets.all(), seed=job.seed)
    whole = {name: getattr(platform, name) for name in platform.__struct_fields__}
    whole |= {"is_cpu": kind == DeviceKind.CPU, "processes": processes, "model": paths.MODEL}
    wanted = compile_argv("sft", verdict.arguments, platform=type(platform)(**whole))
    made = launch_argv(job, device_kind=kind, processes=processes)
    assert made[: made.index("--model")] == wanted[: wanted.index("--model")]
    assert flags(made) == flags(wanted)


def test_an_attempt_is_launched_the_same_way_however_often(alice: User) -> None:
    draft = draft_for(alice, gpus=2, processes=2)
    job = services.job_submit(actor=alice, draft=draft, start=False)
    first = launch_freeze(job=job, attempt=1, device_kind=DeviceKind.CPU)
    Job.objects.filter(pk=job.pk).update(argv=["something", "else"])
    again = launch_freeze(job=Job.objects.get(pk=job.pk), attempt=1, device_kind=DeviceKind.GPU)
    assert again == first
    assert first.argv[:2] == ["-m", "swift.cli.sft"]
    assert first.argv[-4:] == ["--use_cpu", "true", "--ddp_backend", "gloo"]
    assert (first.processes, first.mounts) == (2, {})


def test_the_next_attempt_may_land_on_other_devices(alice: User) -> None:
    job = services.job_submit(actor=alice, draft=draft_for(alice), start=False)
    cpu = launch_freeze(job=job, attempt=1, device_kind=DeviceKind.CPU)
    gpu = launch_freeze(job=job, attempt=2, device_kind=DeviceKind.GPU)
    assert cpu.argv == [*gpu.argv, "--use_cpu", "true"]
    assert set(Job.objects.get(pk=job.pk).launched) == {"1", "2"}


def test_inputs_are_the_uploaded_datasets_at_their_places(alice: User) -> None:
    job = services.job_submit(actor=alice, draft=draft_for(alice), start=False)
    (only,) = launch_freeze(job=job, attempt=1, device_kind=DeviceKind.GPU).inputs
    assert only.target in job.argv
    assert only.sha256 == only.dataset.sha256
