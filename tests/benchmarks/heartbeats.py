"""What 200 nodes of 8 GPUs cost ingest, and how the API answers meanwhile."""

import threading
import time
from typing import Any

import django
import httpx
import redis

from nodeagent.contract.channels import report_stream
from nodeagent.contract.phases import Phase
from nodeagent.contract.reports import (
    GpuSample,
    Heartbeat,
    Held,
    HostSample,
    JobSample,
    Report,
    Sample,
    report_pack,
)
from tests.benchmarks.stage import Stage, cpu_s, percentile

NODES = 200
GPUS = 8
HEARTBEAT_S = 5.0
SAMPLE_S = 2.0
MEASURED_S = 40.0
WARM_S = 10.0


def run(stage: Stage) -> dict[str, Any]:
    """CPU of ingest per second, in percent of a core; milliseconds of two lists of the API."""
    django.setup()
    numbers, token = _rows()
    _port, web = stage.web()
    ingest = stage.start_ingest()
    stopping = threading.Event()
    agents = threading.Thread(target=_agents, args=(stage.redis_url, numbers, stopping))
    agents.start()
    try:
        time.sleep(WARM_S)
        before, web_before, began = cpu_s(ingest), cpu_s(web), time.monotonic()
        took_ms = _asked(_port, token)
        passed_s = time.monotonic() - began
        ingest_part = (cpu_s(ingest) - before) / passed_s
        web_part = (cpu_s(web) - web_before) / passed_s
        behind = _unread(stage.redis_url)
    finally:
        stopping.set()
        agents.join()
    return {
        "nodes": NODES,
        "gpus_each": GPUS,
        "ingest_core_percent": round(100 * ingest_part, 1),
        "web_core_percent": round(100 * web_part, 1),
        "api_ms": {
            path: {
                "p50": round(percentile(times, 0.5), 1),
                "p95": round(percentile(times, 0.95), 1),
            }
            for path, times in took_ms.items()
        },
        "reports_unread_at_the_end": behind,
    }


def _rows() -> tuple[dict[str, int], str]:
    """Nodes with a running job on each; node -> job, and an access token of an operator."""
    from rest_framework_simplejwt.tokens import AccessToken  # noqa: PLC0415

    from loraforge.accounts.models import Role, User  # noqa: PLC0415
    from loraforge.instances.models import Attempt, Instance  # noqa: PLC0415
    from loraforge.instances.states import State  # noqa: PLC0415
    from loraforge.nodes.models import Device, DeviceKind, Node, NodeState  # noqa: PLC0415
    from loraforge.training.models import Job  # noqa: PLC0415

    user = User.objects.create_user(username="operator", password="x", role=Role.OPERATOR)
    found = {}
    for number in range(NODES):
        node = Node.objects.create(name=f"gpu-{number}", state=NodeState.ONLINE)
        uuids = [f"GPU-{number}-{gpu}" for gpu in range(GPUS)]
        Device.objects.bulk_create(
            Device(node=node, uuid=uuid, kind=DeviceKind.GPU, index=index)
            for index, uuid in enumerate(uuids)
        )
        row = Instance.objects.create(
            owner=user, name=f"job-{number}", state=State.RUNNING, attempt=1, node=node, gpus=GPUS
        )
        Job.objects.create(instance=row, command="sft", model="m", arguments={}, argv=[])
        Attempt.objects.create(
            instance=row, number=1, node=node, devices=uuids, phase=Phase.RUNNING, spec_hash="s"
        )
        found[node.name] = row.pk
    return found, str(AccessToken.for_user(user))


def _agents(url: str, jobs: dict[str, int], stopping: threading.Event) -> None:
    """All agents in one thread: each report at its time, spread evenly."""
    client = redis.Redis.from_url(url)
    plan = [
        (place / NODES * every_s, every_s, name, kind)
        for kind, every_s in ((_heartbeat, HEARTBEAT_S), (_sample, SAMPLE_S))
        for place, name in enumerate(jobs)
    ]
    plan.sort(key=lambda entry: entry[0])
    due = [entry[0] for entry in plan]
    began = time.monotonic()
    while not stopping.wait(0.02):
        now = time.monotonic() - began
        pipeline = client.pipeline(transaction=False)
        for index, (_first, every_s, name, kind) in enumerate(plan):
            if due[index] <= now:
                due[index] += every_s
                pipeline.xadd(report_stream(name), {"b": report_pack(kind(name, jobs[name]))})
        pipeline.execute()


def _heartbeat(name: str, job: int) -> Report:
    held = [Held(instance=job, attempt=1, phase=Phase.RUNNING, spec_hash="s")]
    body = Heartbeat(boot_id="b", agent_version="1", held=held)
    return Report(node=name, stream="heartbeat", body=body, at=time.time())


def _sample(name: str, job: int) -> Report:
    gpus = [
        GpuSample(
            uuid=f"GPU-{name.removeprefix('gpu-')}-{gpu}", utilization_percent=97.0,
            memory_used_bytes=70 << 30, memory_total_bytes=80 << 30, temperature_c=66.0, power_w=640.0,
        )
        for gpu in range(GPUS)
    ]  # fmt: skip
    host = HostSample(
        cpu_percent=30.0, memory_used_bytes=1 << 38, memory_total_bytes=1 << 40,
        disk_free_bytes=1 << 40, disk_total_bytes=1 << 42,
    )  # fmt: skip
    jobs = [
        JobSample(instance=job, attempt=1, cpu_percent=800.0, memory_bytes=1 << 36, processes=90)
    ]
    return Report(
        node=name, stream="sample", body=Sample(host=host, gpus=gpus, jobs=jobs), at=time.time()
    )


def _asked(port: int, token: str) -> dict[str, list[float]]:
    """Ten requests a second, as an operator's pages ask."""
    found: dict[str, list[float]] = {"jobs/?page_size=50": [], "nodes/": []}
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}/api/v1/", headers=headers, timeout=30
    ) as api:
        until = time.monotonic() + MEASURED_S
        while time.monotonic() < until:
            for path, times in found.items():
                began = time.perf_counter()
                api.get(path).raise_for_status()
                times.append((time.perf_counter() - began) * 1000)
                time.sleep(0.05)
    for times in found.values():
        times.sort()
    return found


def _unread(url: str) -> int:
    client = redis.Redis.from_url(url)
    return sum(int(client.xlen(report_stream(f"gpu-{number}"))) for number in range(NODES))
