"""What waits in the showroom: places, estimates, reservations; and GPUs of which their node says something."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import Group

from loraforge.accounts.models import User
from loraforge.instances.models import Instance
from loraforge.instances.priorities import NUMBERS, PriorityClass
from loraforge.instances.states import State
from loraforge.nodes.models import Node
from loraforge.scheduling.models import Reservation
from nodeagent.contract import gpus as kinds

HOUR = timedelta(hours=1)


def fill(*, now: datetime, people: Mapping[str, User], nodes: Mapping[str, Node]) -> None:
    """Into a showroom that has everything else."""
    _places(now)
    _marks(nodes["gpu-4090-02"], nodes["gpu-a100-01"], now)
    card = nodes["gpu-a100-01"].devices.get(index=3)
    for node, devices, holder, starts, hours, reason in (
        (nodes["gpu-a100-01"], [card.uuid], {"user": people["bob.long-user-name"]}, 6, 12,
         "Demonstration for the steering committee"),
        (nodes["gpu-4090-02"], [], {"group": Group.objects.get(name="nlp")}, 20, 48, "Deadline of the ACL paper"),
    ):  # fmt: skip
        Reservation.objects.create(
            node=node, devices=devices, starts_at=now + starts * HOUR, ends_at=now + (starts + hours) * HOUR,
            reason=reason, created_by=people["carol"], **holder,
        )  # fmt: skip


def _places(now: datetime) -> None:
    """In the order of their numbers, one of them urgent; of one without an end ahead nothing is known."""
    starts: dict[str, tuple[float, bool]] = {
        "llama3-8b-dpo-warmup": (2.05, False),
        "wiki-zh-second-epoch": (2.8, True),
        "nightly-regression-of-the-chat-model": (0.4, False),
    }
    waiting = Instance.objects.filter(state=State.QUEUED).order_by("pk")
    Instance.objects.filter(name="nightly-regression-of-the-chat-model").update(
        priority=NUMBERS[PriorityClass.URGENT]
    )
    order = sorted(waiting, key=lambda one: (-one.priority, one.pk))
    for number, instance in enumerate(order, start=1):
        detail: dict[str, Any] = {**instance.wait_detail, "position": number}
        if instance.name in starts:
            hours, is_latest = starts[instance.name]
            at = (now + hours * HOUR).replace(second=0, microsecond=0)
            detail |= {"expected_at": at.isoformat(), "expected_latest": is_latest}
        Instance.objects.filter(pk=instance.pk).update(wait_detail=detail)


def _marks(others: Node, own: Node, now: datetime) -> None:
    foreign = {
        "kind": kinds.FOREIGN, "detail": "python (pid 48213, 11.2 GiB)", "blocks": True,
    }  # fmt: skip
    hot = {"kind": kinds.HOT, "detail": "86 °C ≥ 85 °C", "blocks": False}
    others.devices.filter(index=1).update(marks=[foreign], blocked=True)
    check = {"ok": True, "torch": "2.8.0", "tflops": 271.4, "at": now.timestamp(), "detail": ""}
    own.devices.filter(index__lte=1).update(cuda_check=check)
    own.devices.filter(index=1).update(marks=[hot])
