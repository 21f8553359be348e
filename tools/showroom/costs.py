"""Prices, a group, budgets and the ledger of the showroom's jobs."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.contrib.auth.models import Group

from loraforge.accounts.models import User
from loraforge.billing.models import Budget, Price
from loraforge.billing.services import ledger_fill
from loraforge.billing.states import AtLimit
from loraforge.instances.models import Attempt, DeviceLease

HOURLY = {"NVIDIA A100-SXM4-80GB": "12.5", "NVIDIA GeForce RTX 4090": "2.8"}


def fill(*, now: datetime, person: User, cards: Iterable[str]) -> None:
    """What a month has cost; the ended attempts get the leases that they held."""
    group = Group.objects.create(name="nlp")
    person.groups.add(group)
    for card in cards:
        Price.objects.create(
            gpu_model=card,
            per_hour=Decimal(HOURLY.get(card, "24.75")),
            currency=settings.CURRENCY,
            first_day=(now - timedelta(days=400)).date(),
        )
    Budget.objects.create(user=person, money=Decimal(140), gpu_hours=Decimal(200))
    Budget.objects.create(group=group, money=Decimal(50), at_limit=AtLimit.STOP)
    for attempt in Attempt.objects.exclude(ended_at=None):
        for uuid in attempt.devices:
            lease = DeviceLease.objects.create(
                node=attempt.node, device_uuid=uuid, attempt=attempt, released_at=attempt.ended_at
            )
            DeviceLease.objects.filter(pk=lease.pk).update(leased_at=attempt.assigned_at)
    for lease in DeviceLease.objects.filter(released_at=None).select_related("attempt"):
        DeviceLease.objects.filter(pk=lease.pk).update(leased_at=lease.attempt.assigned_at)
    ledger_fill(now=now)
