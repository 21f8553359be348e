"""What the docker runtime decides before it asks an engine: policy, preflight, endings, settings."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nodeagent.config import ConfigError, Containers, settings_read, size_bytes
from nodeagent.runtimes.base import Errand, Launch, RuntimeFault, State, Usage
from nodeagent.runtimes.choice import Machine, plugin_install, policy_make, user_of
from nodeagent.runtimes.container import GIB, Identity, Policy, container_config, errand_config
from nodeagent.runtimes.ending import state_judge
from nodeagent.runtimes.ownership import unreadable_find
from nodeagent.runtimes.preflight import EngineRefused, GpuWays, engine_judge
from nodeagent.runtimes.progress import PullProgress
from nodeagent.runtimes.rawgpus import RawGpus, raw_find
from nodeagent.runtimes.stats import usage_judge
from nodeagent.workspace import JobFolder

BIG = Machine(memory_bytes=100 * GIB, cpus=64, devices=8, is_root=True, own_user=(0, 0))
POLICY = policy_make(Containers(), BIG, gpus="nvidia")
GPUS = ["GPU-aaaa", "GPU-bbbb"]


def config(policy: Policy = POLICY, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "name": "lf-7-a2",
        "instance": 7,
        "attempt": 2,
        "spec_hash": "s",
        "folder": JobFolder(Path("/data/jobs/7/a2")),
        "argv": ["-m", "swift.cli.sft", "--model", "/lf/model"],
        "env": {},
        "devices": ["cpu-0"],
        "mounts": {},
        **more,
    }
    return container_config(
        Launch(**given),
        policy=policy,
        identity=Identity(cluster="c", node="n1"),
        plugin=Path("/data/plugin/x"),
        image="image:1",
    )


def environ(found: dict[str, Any]) -> dict[str, str]:
    return dict(item.split("=", 1) for item in found["Env"])


def test_gpus_are_asked_for_by_uuid() -> None:
    host = config(devices=GPUS)["HostConfig"]
    assert host["DeviceRequests"] == [
        {"Driver": "nvidia", "DeviceIDs": GPUS, "Capabilities": [["gpu", "compute", "utility"]]}
    ]
    cdi = config(msgspec.structs.replace(POLICY, gpus="cdi"), devices=GPUS)["HostConfig"]
    assert cdi["DeviceRequests"] == [
        {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-aaaa", "nvidia.com/gpu=GPU-bbbb"]}
    ]


def test_a_job_has_a_user_name_though_its_image_may_not_know_its_id() -> None:
    # torch on a GPU asks for it, and ends with a KeyError where neither these nor /etc/passwd tell
    errand = Errand(name="e", folder=Path("/e"), argv=["-c", "pass"], devices=GPUS[:1])
    check = errand_config(
        errand, policy=POLICY, identity=Identity(cluster="c", node="n"), plugin=Path("/p"), image=""
    )
    for found in (config(), check):
        assert {environ(found)[name] for name in ("USER", "LOGNAME")} == {"trainer"}


def test_a_cpu_job_gets_no_gpu_even_if_its_image_asks_for_all() -> None:
    found = config(env={"NVIDIA_VISIBLE_DEVICES": "all", "CUDA_VISIBLE_DEVICES": "0"})
    assert found["HostConfig"]["DeviceRequests"] == []
    assert environ(found)["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert environ(found)["CUDA_VISIBLE_DEVICES"] == ""


def test_limits_grow_with_the_devices_and_end_with_the_machine() -> None:
    one, two = config(devices=GPUS[:1])["HostConfig"], config(devices=GPUS)["HostConfig"]
    assert one["Memory"] == one["MemorySwap"] == int(100 * GIB * 0.9 / 8)
    assert two["Memory"] == 2 * one["Memory"]
    assert one["NanoCpus"] == two["NanoCpus"] == 63 * 10**9
    narrow = msgspec.structs.replace(POLICY, cpus=4.0)
    assert config(narrow, devices=GPUS)["HostConfig"]["NanoCpus"] == 8 * 10**9


def test_a_network_only_for_the_job_that_needs_one() -> None:
    networked = msgspec.structs.replace(POLICY, network="egress")
    assert config(networked)["HostConfig"]["NetworkMode"] == "none"
    assert config(networked, network=True)["HostConfig"]["NetworkMode"] == "egress"
    with pytest.raises(RuntimeFault) as caught:
        config(network=True)
    assert caught.value.reason == "node:no_network"
    assert "LORAFORGE_JOB_NETWORK" in caught.value.detail


def test_proxies_only_where_there_is_a_network() -> None:
    proxied = msgspec.structs.replace(POLICY, proxies={"HTTPS_PROXY": "http://p:1"})
    assert "HTTPS_PROXY" not in environ(config(proxied))
    networked = msgspec.structs.replace(proxied, network="egress")
    assert "HTTPS_PROXY" not in environ(config(networked))
    assert environ(config(networked, network=True))["HTTPS_PROXY"] == "http://p:1"


def test_several_processes_are_launched_by_torchrun() -> None:
    found = config(processes=2, devices=GPUS)
    assert found["Cmd"][:5] == ["python", "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    assert found["Cmd"][-4:] == ["-m", "swift.cli.sft", "--model", "/lf/model"]
    assert environ(found)["NPROC_PER_NODE"] == "2"


def test_whom_jobs_run_as() -> None:
    plain = msgspec.structs.replace(BIG, is_root=False, own_user=(1000, 1000))
    assert user_of(Containers(), BIG) == (10001, 10001)
    assert user_of(Containers(user=(5, 6)), BIG) == (5, 6)
    assert user_of(Containers(), plain) == (1000, 1000)
    with pytest.raises(EngineRefused, match="root"):
        user_of(Containers(user=(10001, 10001)), plain)


def test_the_plugin_is_copied_once_and_readable_by_all(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.py").write_text("1")
    umask = os.umask(0o077)
    try:
        first = plugin_install(source, tmp_path / "into")
    finally:
        os.umask(umask)
    assert plugin_install(source, tmp_path / "into") == first
    assert ((first / "a.py").stat().st_mode & 0o777, first.stat().st_mode & 0o777) == (0o644, 0o755)
    (source / "a.py").write_text("2")
    second = plugin_install(source, tmp_path / "into")
    assert second != first
    assert (first / "a.py").read_text() == "1", "a running job keeps what it began with"


# -- the preflight

VERSION = {"Version": "24.0", "ApiVersion": "1.43"}
INFO: dict[str, Any] = {
    "OSType": "linux",
    "SecurityOptions": ["name=seccomp,profile=default"],
    "LiveRestoreEnabled": True,
    "MemoryLimit": True,
    "PidsLimit": True,
    "CpuCfsQuota": True,
    "Runtimes": {"runc": {}},
}


def test_a_good_engine_has_no_warning() -> None:
    found = engine_judge(version=VERSION, info=INFO, gpu_ways=None, disk=(50 * GIB, 100 * GIB))
    assert (found.version, found.gpus, found.warnings) == ("24.0", "none", [])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"LiveRestoreEnabled": False}, "live-restore"),
        ({"MemoryLimit": False}, "memory"),
        ({"PidsLimit": False}, "processes"),
        ({"CpuCfsQuota": False}, "CPU"),
        ({"SecurityOptions": []}, "seccomp"),
    ],
)
def test_what_is_worth_a_warning(change: dict[str, Any], text: str) -> None:
    found = engine_judge(version=VERSION, info=INFO | change, gpu_ways=None, disk=None)
    assert len(found.warnings) == 1
    assert text in found.warnings[0]


def test_little_disk_is_worth_a_warning() -> None:
    found = engine_judge(version=VERSION, info=INFO, gpu_ways=None, disk=(5 * GIB, 40 * GIB))
    assert "5.0 of 40 GiB" in found.warnings[0]


@pytest.mark.parametrize(
    ("version", "change", "text"),
    [
        ({"Version": "19.03", "ApiVersion": "1.40"}, {}, "too old"),
        (VERSION, {"OSType": "windows"}, "Linux"),
        (VERSION, {"SecurityOptions": ["name=userns"]}, "userns"),
        (VERSION, {"SecurityOptions": ["name=rootless"]}, "rootless"),
    ],
)
def test_unfit_engines(version: dict[str, str], change: dict[str, Any], text: str) -> None:
    with pytest.raises(EngineRefused, match=text):
        engine_judge(version=version, info=INFO | change, gpu_ways=None, disk=None)


def test_how_gpus_reach_containers(tmp_path: Path) -> None:
    def mode(change: dict[str, Any], *, wanted: str = "auto", has_raw: bool = False) -> str:
        ways = GpuWays(wanted=wanted, has_raw=has_raw)
        return engine_judge(version=VERSION, info=INFO | change, gpu_ways=ways, disk=None).gpus

    nvidia: dict[str, Any] = {"Runtimes": {"runc": {}, "nvidia": {}}}
    assert mode(nvidia) == "nvidia"
    assert mode({"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]}) == "cdi"
    (tmp_path / "nvidia.yaml").write_text("kind: nvidia.com/gpu")
    assert mode({"CDISpecDirs": [str(tmp_path)]}) == "cdi"
    assert mode({}, has_raw=True) == "raw", "where the engine has neither"
    assert mode(nvidia, has_raw=True, wanted="raw") == "raw"
    with pytest.raises(EngineRefused, match="nvidia-container-toolkit"):
        mode({})
    with pytest.raises(EngineRefused, match="LORAFORGE_GPU_MODE is cdi, which"):
        mode(nvidia, has_raw=True, wanted="cdi")


# -- raw device nodes


def driver_here(folder: Path, *, without: str = "") -> RawGpus | None:
    """What is found of a driver whose nodes and libraries lie in this folder."""
    names = [
        "nvidia3",
        "nvidia5",
        "nvidiactl",
        "nvidia-uvm",
        "libcuda.so.580",
        "libnvidia-ml.so.580",
    ]
    for name in names:
        if name != without:
            (folder / name).touch()
    (folder / "libcuda.so.1").symlink_to("libcuda.so.580")
    listing = f"""120 libs found in cache `/etc/ld.so.cache'
\tlibz.so.1 (libc6,x86-64) => /lib/libz.so.1
\tlibcuda.so.1 (libc6) => /lib32/libcuda.so.1
\tlibcuda.so.1 (libc6,x86-64) => {folder}/libcuda.so.1
\tlibcuda.so.1 (libc6,x86-64) => /another/libcuda.so.1
\tlibcuda.so (libc6,x86-64) => {folder}/libcuda.so.1
\tlibnvidia-ml.so.1 (libc6,x86-64, OS ABI: Linux 2.3.99) => {folder}/libnvidia-ml.so.580
\tlibnvidia-nvvm.so.4 (libc6,x86-64) => {folder}/gone.so"""
    minors = dict(zip(GPUS, (3, 5), strict=True))
    return raw_find(GPUS, minor=minors.__getitem__, dev=folder, listing=lambda: listing)


def test_a_container_gets_the_nodes_of_its_gpus_and_the_drivers_libraries(tmp_path: Path) -> None:
    raw = driver_here(tmp_path)
    assert raw is not None
    policy = policy_make(Containers(), BIG, gpus="raw", raw=raw)
    made = config(policy=policy, devices=GPUS[1:])
    nodes = [device["PathOnHost"] for device in made["HostConfig"]["Devices"]]
    assert nodes == [f"{tmp_path}/{name}" for name in ("nvidia5", "nvidiactl", "nvidia-uvm")]
    assert made["HostConfig"]["DeviceRequests"] == []
    driver = {
        mount["Target"]: (mount["Source"], mount["ReadOnly"])
        for mount in made["HostConfig"]["Mounts"]
        if mount["Target"].startswith("/lf/driver/")
    }
    assert driver == {
        "/lf/driver/libcuda.so.1": (f"{tmp_path}/libcuda.so.580", True),
        "/lf/driver/libnvidia-ml.so.1": (f"{tmp_path}/libnvidia-ml.so.580", True),
    }
    assert f"CUDA_VISIBLE_DEVICES={GPUS[1]}" in made["Env"]
    assert "LD_LIBRARY_PATH=/lf/driver" in made["Env"]
    slot = config(policy=policy, devices=["cpu-0"])
    assert "Devices" not in slot["HostConfig"]
    assert not any("/lf/driver" in one for one in slot["Env"])


@pytest.mark.parametrize("missing", ["nvidia5", "nvidiactl", "nvidia-uvm", "libcuda.so.580"])
def test_half_a_driver_is_no_driver(tmp_path: Path, missing: str) -> None:
    assert driver_here(tmp_path, without=missing) is None


def test_the_cuda_check_has_one_gpu_and_no_network(tmp_path: Path) -> None:
    errand = Errand(name="lf-check-1", folder=tmp_path, argv=["x"], devices=GPUS[:1])
    closed = msgspec.structs.replace(POLICY, fetch_network="none")
    made = errand_config(
        errand,
        policy=closed,
        identity=Identity(cluster="c", node="n1"),
        plugin=tmp_path,
        image="swift",
    )
    assert made["HostConfig"]["NetworkMode"] == "none"
    assert made["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == GPUS[:1]
    assert f"NVIDIA_VISIBLE_DEVICES={GPUS[0]}" in made["Env"]


# -- endings


def ending(*, boot: float = 0.0, was_cut_off: bool = False, **state: Any) -> State:
    whole = {
        "Status": "exited",
        "ExitCode": 0,
        "OOMKilled": False,
        "StartedAt": "2026-05-01T10:00:00.123456789Z",
        "FinishedAt": "2026-05-01T11:00:00Z",
        **state,
    }
    return state_judge({"State": whole}, boot=boot, was_cut_off=was_cut_off)


def test_endings() -> None:
    assert ending(Status="running") == State(running=True)
    assert ending(Status="paused") == State(running=True)
    assert ending(ExitCode=75) == State(running=False, exit_code=75)
    assert ending(ExitCode=143) == State(running=False, exit_code=143, killed_by=15)
    assert ending(ExitCode=247) == State(running=False, exit_code=247)
    killed = State(running=False, exit_code=1, killed_by=9, reason="node:oom_killed")
    assert ending(ExitCode=1, OOMKilled=True) == killed
    assert state_judge(None, boot=0, was_cut_off=False).reason == "container:gone"
    assert ending(Status="created").reason == "container:never_started"


def test_an_end_that_the_engine_invented_after_a_reboot_has_no_code() -> None:
    ten, half_past_ten = 1777629600.0, 1777631400.0
    crossed = ending(boot=half_past_ten, ExitCode=255)
    assert crossed == State(running=False, reason="node:rebooted")
    assert ending(boot=ten - 60).exit_code == 0, "started after the boot"
    assert ending(boot=ten + 7200, ExitCode=3).exit_code == 3, "ended before the boot"


def test_a_code_that_a_restarted_engine_left() -> None:
    assert ending(ExitCode=137, was_cut_off=True).reason == "node:engine_restarted"
    assert ending(ExitCode=1, was_cut_off=True).reason == ""
    assert ending(ExitCode=137, was_cut_off=False).reason == ""


def test_usage() -> None:
    stats = {
        "pids_stats": {"current": 12},
        "memory_stats": {"usage": 900, "stats": {"inactive_file": 300}},
    }
    assert usage_judge(stats, cpu_s=1.5, passed_s=2.0) == Usage(
        cpu_percent=75.0, memory_bytes=600, processes=12
    )
    assert usage_judge({"pids_stats": {}}, cpu_s=0, passed_s=1) is None


def test_progress_of_a_pull() -> None:
    progress = PullProgress("i:1")
    assert progress.text == "image i:1: asked for"
    for line in (
        {"id": "a", "status": "Downloading", "progressDetail": {"current": 2e6, "total": 10e6}},
        {"id": "b", "status": "Downloading", "progressDetail": {"current": 1e6, "total": 10e6}},
        {"id": "b", "status": "Extracting", "progressDetail": {"current": 5, "total": 10}},
        {"id": "b", "status": "Pull complete"},
    ):
        progress.take(line)
    assert progress.text == "image i:1: 12 of 20 MB"


def test_what_a_job_s_user_may_not_read(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    weights = tmp_path / "deep" / "w"
    weights.touch(mode=0o640)
    (tmp_path / "broken").symlink_to("/nowhere")
    assert unreadable_find(tmp_path / "deep", uid=10001, gid=10001) == weights
    assert unreadable_find(tmp_path / "deep", uid=10001, gid=weights.stat().st_gid) is None
    assert unreadable_find(tmp_path / "deep", uid=weights.stat().st_uid, gid=1) is None
    weights.chmod(0o644)
    assert unreadable_find(tmp_path / "deep", uid=10001, gid=10001) is None
    (tmp_path / "deep").chmod(0o750)
    assert unreadable_find(tmp_path / "deep", uid=10001, gid=10001) == tmp_path / "deep"


# -- settings

NODE = ["--name", "n1", "--token", "t", "--server", "http://127.0.0.1"]


def containers(**environ: str) -> Containers:
    return settings_read(NODE, environ).containers


def test_settings_of_containers() -> None:
    plain = containers()
    assert (plain.images, plain.network, plain.user) == (("loraforge/swift:4.6.0",), "none", None)
    given = containers(
        LORAFORGE_SWIFT_IMAGE="hub/swift:1",
        LORAFORGE_IMAGE_ALLOW="hub/swift:1, hub/other@sha256:00",
        LORAFORGE_JOB_USER="2000:3000",
        LORAFORGE_JOB_MEMORY="1.5g",
        LORAFORGE_JOB_CPUS="2.5",
        LORAFORGE_JOB_SHM="512m",
        LORAFORGE_JOB_PIDS="100",
        DOCKER_HOST="unix:///x.sock",
    )
    assert given.images == ("hub/swift:1", "hub/other@sha256:00")
    assert (given.user, given.memory_bytes, given.cpus) == ((2000, 3000), 3 * 2**29, 2.5)
    assert (given.shm_bytes, given.pids, given.engine_url) == (2**29, 100, "unix:///x.sock")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LORAFORGE_RUNTIME", "podman"),
        ("LORAFORGE_JOB_USER", "0:0"),
        ("LORAFORGE_JOB_USER", "1000:0"),
        ("LORAFORGE_JOB_USER", "root"),
        ("LORAFORGE_JOB_MEMORY", "lots"),
        ("LORAFORGE_JOB_CPUS", "-1"),
        ("LORAFORGE_GPU_MODE", "vfio"),
    ],
)
def test_wrong_settings_are_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        containers(**{name: value})


@pytest.mark.parametrize(
    ("text", "size"), [("1024", 1024), ("2k", 2048), ("3MiB", 3 * 2**20), ("4G", 2**32)]
)
def test_sizes(text: str, size: int) -> None:
    assert size_bytes(text, what="X") == size
