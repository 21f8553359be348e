"""Prices, and jobs that held GPUs for a time."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from loraforge.accounts.models import User
from loraforge.billing.models import Price
from loraforge.instances.models import Attempt, DeviceLease, Instance
from loraforge.instances.states import State
from loraforge.nodes.models import Device, Node
from tests.factories.accounts import UserFactory
from tests.factories.training import JobFactory, OnlineNodeFactory

H100 = "NVIDIA H100 80GB HBM3"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _money(settings: Any) -> None:
    settings.CURRENCY = "CNY"
    settings.BILLING_TIME_ZONE = "Asia/Shanghai"


@pytest.fixture
def root(db: None) -> User:
    """An administrator."""
    user: User = UserFactory.create(username="root", admin=True)
    return user


@pytest.fixture
def node(db: None) -> Node:
    """Four H100."""
    made: Node = OnlineNodeFactory.create(name="n1", gpus=4)
    Device.objects.filter(node=made).update(name=H100)
    return made


def price_of(per_hour: str, first: date = date(2026, 1, 1), **changes: Any) -> Price:
    target = {"gpu_model": H100} if "node" not in changes else {}
    price: Price = Price.objects.create(
        per_hour=Decimal(per_hour), first_day=first, currency="CNY", **target, **changes
    )
    return price


RanJob = Callable[..., Attempt]


@pytest.fixture
def ran(node: Node) -> RanJob:
    """An attempt of a job that held GPUs from ``began`` for so many seconds; None = it still does."""

    def make(owner: User, *, began: datetime, seconds: float | None, gpus: int = 1) -> Attempt:
        state = State.RUNNING if seconds is None else State.SUCCEEDED
        job = JobFactory.create(
            owner=owner, state=state, instance__attempt=1, instance__node=node, instance__gpus=gpus
        )
        taken = DeviceLease.objects.filter(node=node, released_at=None).count()
        uuids = [f"GPU-n1-{index}" for index in range(taken, taken + gpus)]
        attempt = Attempt.objects.create(
            instance=job.instance, number=1, node=node, devices=uuids, assigned_at=began
        )
        ended = None if seconds is None else began + timedelta(seconds=seconds)
        for uuid in uuids:
            lease = DeviceLease.objects.create(
                node=node, device_uuid=uuid, attempt=attempt, leased_at=began
            )
            lease.released_at = ended
            lease.save()
        return attempt

    return make


def instance_of(attempt: Attempt) -> Instance:
    return Instance.objects.get(pk=attempt.instance_id)
