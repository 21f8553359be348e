"""One decision about 1,000 waiting jobs over 100 nodes of 8 GPUs: the pure policy, and the service around it."""

import time
from collections.abc import Callable
from datetime import timedelta
from statistics import median
from typing import Any

import django

from tests.benchmarks.stage import Stage

NODES = 100
GPUS = 8
WAITING = 1000
OWNERS = 50
FREED = 8
ROUNDS = 7


def run(_stage: Stage) -> dict[str, Any]:
    """Milliseconds of CPU time of this process; the database's own is in `service` on SQLite only."""
    django.setup()
    from loraforge.scheduling.forecast import forecast  # noqa: PLC0415
    from loraforge.scheduling.policy import decide  # noqa: PLC0415
    from loraforge.scheduling.selectors import situation_now  # noqa: PLC0415
    from loraforge.scheduling.services import instances_place  # noqa: PLC0415

    _rows()
    situation = situation_now()
    decision = decide(situation)
    found = {
        "policy_ms": _median(lambda: decide(situation)),
        "forecast_ms": _median(lambda: forecast(situation=situation, decision=decision)),
        "first_ms": _once(instances_place),
        "service_ms": _median(instances_place),
        "facts_ms": _median(situation_now),
    }
    _free_some()
    freed = situation_now()
    return {
        **found,
        "policy_with_free_ms": _median(lambda: decide(freed)),
        "placing_8_and_telling_all_ms": _once(instances_place),
        "waiting": WAITING,
        "devices": NODES * GPUS,
    }


def _once(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return round((time.process_time() - began) * 1000, 1)


def _median(work: Callable[[], object]) -> float:
    work()
    return round(median(_once(work) for _round in range(ROUNDS)), 1)


def _rows() -> None:
    """Every device held by a running job; the waiting ones of 50 people ask for 1 to 8."""
    from django.utils import timezone  # noqa: PLC0415

    from loraforge.accounts.models import User  # noqa: PLC0415
    from loraforge.instances.models import Attempt, DeviceLease, Instance  # noqa: PLC0415
    from loraforge.instances.states import State  # noqa: PLC0415
    from loraforge.nodes.models import Device, DeviceKind, Node, NodeState  # noqa: PLC0415

    now = timezone.now()
    owners = User.objects.bulk_create(User(username=f"user{n}") for n in range(OWNERS))
    nodes = Node.objects.bulk_create(
        Node(name=f"node{n:03}", state=NodeState.ONLINE, token_digest=f"{n:064}")
        for n in range(NODES)
    )
    Device.objects.bulk_create(
        Device(node=node, uuid=f"GPU-{node.pk}-{n}", kind=DeviceKind.GPU, index=n)
        for node in nodes
        for n in range(GPUS)
    )
    running = Instance.objects.bulk_create(
        Instance(owner=owners[n % OWNERS], name="runs", state=State.RUNNING, node=nodes[n // GPUS],
                 attempt=1, eta_s=600 + n)
        for n in range(NODES * GPUS)
    )  # fmt: skip
    attempts = Attempt.objects.bulk_create(
        Attempt(instance=one, number=1, node=one.node) for one in running
    )
    DeviceLease.objects.bulk_create(
        DeviceLease(node=one.node, device_uuid=f"GPU-{one.node_id}-{n % GPUS}", attempt=one)
        for n, one in enumerate(attempts)
    )
    sizes = (1, 1, 1, 2, 4, 8)
    Instance.objects.bulk_create(
        Instance(owner=owners[n * 7 % OWNERS], name="waits", state=State.QUEUED, gpus=sizes[n % 6],
                 priority=(-10, 0, 0, 10)[n % 4], queued_at=now - timedelta(seconds=WAITING - n))
        for n in range(WAITING)
    )  # fmt: skip


def _free_some() -> None:
    """Jobs that have ended: eight devices are free."""
    from loraforge.instances.models import DeviceLease, Instance  # noqa: PLC0415
    from loraforge.instances.states import State  # noqa: PLC0415

    leases = DeviceLease.objects.order_by("pk")[:FREED]
    ended = [lease.attempt.instance_id for lease in leases.select_related("attempt")]
    DeviceLease.objects.filter(attempt__instance_id__in=ended).delete()
    Instance.objects.filter(pk__in=ended).update(state=State.SUCCEEDED)
