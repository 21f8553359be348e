"""Reads of prices and of what GPU time has cost so far."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from loraforge.billing import policy
from loraforge.billing.models import LedgerLine, Price
from loraforge.billing.policy import Lease, Line, Rate, Used
from loraforge.instances.models import DeviceLease, Instance
from loraforge.nodes.models import Device, DeviceKind

CPU_SLOT = "cpu-"  # how the ids of devices begin that are no GPUs
NOT_FINAL = Q(attempt__metering=None) | Q(attempt__metering__final=False)


def zone() -> tzinfo:
    """The calendar by which prices change and months end."""
    return ZoneInfo(settings.BILLING_TIME_ZONE)


def currency_digits() -> int:
    """Digits behind the point of the currency's smallest coin."""
    return policy.digits_of(settings.CURRENCY)


def month_now(now: datetime | None = None) -> str:
    """This month, as ``2026-11``."""
    return policy.month_of(now or timezone.now(), zone())


def money(amount: Decimal | int | None) -> Decimal:
    """An amount out of the database. A sum there is exact on PostgreSQL, and of SQLite's fractions to the coin."""
    return policy.rounded(Decimal(amount or 0), digits=currency_digits())


def rate_of(price: Price) -> Rate:
    """As the policy knows it."""
    return Rate(
        id=price.pk,
        per_hour=price.per_hour,
        first_day=price.first_day,
        last_day=price.last_day,
        node=price.node_id,
        gpu_model=price.gpu_model,
    )


def rates_now() -> list[Rate]:
    """All prices of the currency that is set, past ones too; empty = nothing costs anything."""
    return [rate_of(price) for price in Price.objects.filter(currency=settings.CURRENCY)]


def has_prices() -> bool:
    """Costs are shown at all."""
    return Price.objects.filter(currency=settings.CURRENCY).exists()


@dataclass(frozen=True)
class Metered:
    """An attempt's lines as they would be if it ended now; those before ``until`` are in the ledger."""

    lines: list[Line]
    owner: int
    until: datetime | None

    @property
    def unwritten(self) -> list[Line]:
        """What the ledger does not have yet."""
        return [line for line in self.lines if self.until is None or line.began >= self.until]


def metered(
    leases: QuerySet[DeviceLease], *, rates: Sequence[Rate], now: datetime
) -> dict[int, Metered]:
    """Attempt id -> what it has used, by the control plane's times alone; two queries, however many.

    CPU slots are not metered, and what is held for a move to another node is neither.
    """
    rows = [
        lease
        for lease in leases.select_related("attempt__instance", "attempt__metering")
        if lease.node_id == lease.attempt.node_id
    ]
    names = _gpu_names(rows)
    by_attempt: dict[int, list[DeviceLease]] = {}
    for row in rows:
        by_attempt.setdefault(row.attempt_id, []).append(row)
    found = {}
    for attempt_id, own in by_attempt.items():
        attempt = own[0].attempt
        metering = getattr(attempt, "metering", None)
        until = metering.until if metering is not None else None
        lines = policy.lines_of(
            leases=[
                Lease(names[one.node_id, one.device_uuid], one.leased_at, _used_until(one, now))
                for one in own
                if (one.node_id, one.device_uuid) in names
            ],
            rates=rates,
            node=attempt.node_id,
            zone=zone(),
            digits=currency_digits(),
            until=until,
        )
        found[attempt_id] = Metered(lines=lines, owner=attempt.instance.owner_id, until=until)
    return found


def _used_until(lease: DeviceLease, now: datetime) -> datetime:
    """Its release, or the attempt's end when it was held beyond that for a move."""
    released = lease.released_at or now
    ended = lease.attempt.ended_at
    return released if ended is None else max(min(released, ended), lease.leased_at)


def _gpu_names(leases: Iterable[DeviceLease]) -> dict[tuple[int, str], str]:
    """(node id, uuid) -> model, of GPUs. One that its node does not list any more has no model."""
    keys = {(lease.node_id, lease.device_uuid) for lease in leases}
    known = Device.objects.filter(
        node__in={node for node, _uuid in keys}, uuid__in={uuid for _node, uuid in keys}
    ).values_list("node_id", "uuid", "kind", "name")
    names = {key: "" for key in keys if not key[1].startswith(CPU_SLOT)}
    for node, uuid, kind, name in known:
        if kind != DeviceKind.GPU:
            names.pop((node, uuid), None)
        elif (node, uuid) in names:
            names[node, uuid] = name
    return names


def used_by(lines: Iterable[Line]) -> Used:
    """The sum of these lines."""
    total = Used()
    for line in lines:
        total += Used(line.amount, line.gpu_seconds)
    return total


@dataclass(frozen=True)
class Cost:
    """What an instance has cost so far, over all of its attempts. per_hour: what it costs now; None = nothing runs."""

    amount: Decimal
    gpu_seconds: int
    currency: str
    per_hour: Decimal | None = None

    @property
    def gpu_hours(self) -> Decimal:
        """To read."""
        return policy.hours_of(self.gpu_seconds)

    @property
    def is_running(self) -> bool:
        """It still grows."""
        return self.per_hour is not None


def cost_get(*, instance: Instance, now: datetime | None = None) -> Cost | None:
    """What an instance that the caller already may see has cost; None where no price is set at all."""
    rates = rates_now()
    if not rates:
        return None
    now = now or timezone.now()
    written: Any = LedgerLine.objects.filter(attempt__instance=instance).aggregate(
        amount=Sum("amount", filter=Q(currency=settings.CURRENCY)), gpu_seconds=Sum("gpu_seconds")
    )
    leases = DeviceLease.objects.filter(NOT_FINAL, attempt__instance=instance)
    running = metered(leases, rates=rates, now=now)
    fresh = used_by(line for one in running.values() for line in one.unwritten)
    still = [line for one in running.values() for line in one.lines[-1:]]
    per_hour = sum(
        (line.rate.per_hour * line.gpus if line.rate else Decimal(0) for line in still), Decimal(0)
    )
    return Cost(
        amount=money(written["amount"]) + fresh.money,
        gpu_seconds=(written["gpu_seconds"] or 0) + fresh.gpu_seconds,
        currency=settings.CURRENCY,
        per_hour=per_hour if still else None,
    )


@dataclass(frozen=True)
class Estimate:
    """What a job would cost: an hour, and in all where its longest run is known; least and most over its places."""

    currency: str
    per_hour_least: Decimal
    per_hour_most: Decimal
    run_s: int
    total_least: Decimal | None
    total_most: Decimal | None


def estimate_get(
    *, devices: Iterable[Device], gpus: int, run_s: int = 0, now: datetime | None = None
) -> Estimate | None:
    """An estimate for ``gpus`` of these devices, any of which it may get; None where no price is set at all.

    run_s: the longest that it may run; 0 = nobody knows.
    """
    rates = rates_now()
    found = [device for device in devices if device.kind == DeviceKind.GPU]
    if not rates or not found:
        return None
    today = (now or timezone.now()).astimezone(zone()).date()
    kinds = {(device.node_id, device.name) for device in found}
    hourly = [
        rate.per_hour * gpus if rate else Decimal(0)
        for rate in (
            policy.rate_on(today, rates=rates, node=node, gpu_model=name) for node, name in kinds
        )
    ]
    totals = [each * run_s / policy.SECONDS_OF_HOUR for each in hourly] if run_s else []
    return Estimate(
        currency=settings.CURRENCY,
        per_hour_least=money(min(hourly)),
        per_hour_most=money(max(hourly)),
        run_s=run_s,
        total_least=money(min(totals)) if totals else None,
        total_most=money(max(totals)) if totals else None,
    )
