"""Writes of prices and of the ledger."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count, F, Max, Min, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.billing import policy, selectors
from loraforge.billing.models import Budget, LedgerLine, LedgerShare, Metering, Price
from loraforge.billing.policy import Line
from loraforge.core import audit
from loraforge.core.errors import Conflict, Invalid
from loraforge.core.models import Setting
from loraforge.instances.models import Attempt, DeviceLease, Instance, InstanceEvent
from loraforge.instances.states import TERMINAL, ends_attempt

_PRICE_LOCK = "billing.prices"
BATCH = 200  # attempts of one look


def currency() -> str:
    """What new prices are in."""
    return str(settings.CURRENCY)


def price_check(price: Price) -> None:
    """Raises Invalid, under its field: a price for nothing or for two things, days that overlap another's, or a
    change of what the ledger has used.
    """
    if (price.node_id is None) == (not price.gpu_model.strip()):
        _refuse("gpu_model", _("Give either a node or a GPU model, not both."))
    if price.per_hour < 0:
        _refuse("per_hour", _("A price is 0 or more."))
    if price.last_day is not None and price.last_day < price.first_day:
        _refuse("last_day", _("The last day comes before the first."))
    _days_check(price)
    _used_check(price)


def _refuse(field: str, text: str) -> None:
    raise Invalid("billing:bad_price", text, fields={field: [text]})


def _days_check(price: Price) -> None:
    others = Price.objects.filter(currency=settings.CURRENCY).exclude(pk=price.pk)
    others = (
        others.filter(node=price.node_id)
        if price.node_id
        else others.filter(node=None, gpu_model__iexact=price.gpu_model.strip())
    )
    for other in others:
        if selectors.rate_of(other).overlaps(first_day=price.first_day, last_day=price.last_day):
            days = {"first": other.first_day, "last": other.last_day or "…", "price": str(other)}
            text = _(
                "Its days overlap those of the price %(price)s (%(first)s – %(last)s). End that one first, "
                "or choose other days."
            )
            _refuse("first_day", text % days)


def _used_check(price: Price) -> None:
    before = Price.objects.filter(pk=price.pk).first() if price.pk else None
    if before is None:
        return
    used = LedgerLine.objects.filter(price=price).aggregate(at=Max("ended"))["at"]
    if used is None:
        return
    kept = ("node_id", "gpu_model", "per_hour", "first_day", "currency")
    if any(getattr(before, name) != getattr(price, name) for name in kept):
        text = _(
            "The ledger has used this price. Set its last day, and add a new price from the next day on."
        )
        _refuse("per_hour", text)
    last_used = (used - timedelta(microseconds=1)).astimezone(selectors.zone()).date()
    if price.last_day is not None and price.last_day < last_used:
        text = _("The ledger has used this price until %(day)s. It cannot end before that.")
        _refuse("last_day", text % {"day": last_used})


@transaction.atomic
def price_save(*, actor: User, price: Price) -> Price:
    """Add a price or change one. Raises Denied, Invalid (`billing:bad_price`)."""
    access.require(actor, Action.ADMINISTER)
    Setting.objects.get_or_create(name=_PRICE_LOCK, defaults={"value": ""})
    Setting.objects.select_for_update().get(name=_PRICE_LOCK)
    price.gpu_model = price.gpu_model.strip()
    price.currency = price.currency or settings.CURRENCY
    price_check(price)
    price.save()
    return price


def price_create(
    *,
    actor: User,
    per_hour: Decimal,
    first_day: date,
    last_day: date | None = None,
    node: Any = None,
    gpu_model: str = "",
) -> Price:
    """A new price of a node or of a GPU model. Raises as `price_save`."""
    price = Price(
        node=node, gpu_model=gpu_model, per_hour=per_hour, first_day=first_day, last_day=last_day
    )
    return price_save(actor=actor, price=price)


@transaction.atomic
def price_delete(*, actor: User, price: Price) -> None:
    """Remove a price that the ledger has not used. Raises Conflict for one that it has."""
    access.require(actor, Action.ADMINISTER)
    if LedgerLine.objects.filter(price=price).exists():
        text = _("The ledger has used this price. Set its last day instead.")
        raise Conflict("billing:price_used", text)
    price.delete()


@transaction.atomic
def budget_save(*, actor: User, budget: Budget) -> Budget:
    """Add a budget or change one; what was told of it counts anew. Raises Denied."""
    access.require(actor, Action.ADMINISTER)
    budget.save()
    budget.notices.all().delete()
    return budget


# --- the ledger ----------------------------------------------------------------------------------------


@transaction.atomic
def attempt_meter(*, attempt: Attempt, now: datetime | None = None) -> int:
    """Write what the ledger lacks of an attempt: all of it once it has released its devices, until then all before
    this month. Returns the number of new lines; a second time there are none.
    """
    now = now or timezone.now()
    Metering.objects.get_or_create(attempt=attempt)
    metering = Metering.objects.select_for_update().get(attempt=attempt)
    if metering.final:
        return 0
    leases = DeviceLease.objects.filter(attempt=attempt)
    found = selectors.metered(leases, rates=selectors.rates_now(), now=now).get(attempt.pk)
    is_open = leases.filter(released_at=None).exists()
    until = _month_start(now) if is_open else None
    lines = found.unwritten if found is not None else []
    fresh = [line for line in lines if until is None or line.ended <= until]
    if found is not None:
        _lines_write(attempt, fresh, owner=found.owner)
    metering.until = until if until is not None else metering.until
    metering.final = not is_open
    metering.save()
    return len(fresh)


def _month_start(now: datetime) -> datetime:
    first, _following = policy.month_days(selectors.month_now(now))
    return policy.midnight_of(first, selectors.zone())


def _lines_write(attempt: Attempt, lines: list[Line], *, owner: int) -> None:
    if not lines:
        return
    rows = LedgerLine.objects.bulk_create(
        LedgerLine(
            attempt=attempt,
            owner_id=owner,
            month=line.month,
            node_name=attempt.node.name,
            gpu_model=line.gpu_model,
            began=line.began,
            ended=line.ended,
            gpus=line.gpus,
            gpu_seconds=line.gpu_seconds,
            price_id=line.rate.id if line.rate else None,
            per_hour=line.rate.per_hour if line.rate else Decimal(0),
            amount=line.amount,
            currency=settings.CURRENCY,
        )
        for line in lines
    )
    groups = list(User.groups.through.objects.filter(user_id=owner).values_list("group", flat=True))
    LedgerShare.objects.bulk_create(
        LedgerShare(line=row, group_id=group) for row in rows for group in groups
    )


def instance_moved(*, instance: Instance, event: InstanceEvent) -> None:
    """Subscriber of events.INSTANCE_MOVED: an attempt that has just released its devices is written down."""
    if event.target not in TERMINAL and not ends_attempt(source=event.source, target=event.target):
        return
    rows = Attempt.objects.filter(instance=instance, leases__isnull=False)
    for attempt in rows.exclude(metering__final=True).select_related("node").distinct():
        attempt_meter(attempt=attempt)


def ledger_fill(*, now: datetime | None = None) -> int:
    """Write what no event has: attempts that ended unseen, and the past months of those that go on.

    Returns the number of new lines.
    """
    now = now or timezone.now()
    start = _month_start(now)
    rows = (
        Attempt.objects.filter(Q(metering=None) | Q(metering__final=False), leases__isnull=False)
        .annotate(
            began=Min("leases__leased_at"),
            open=Count("leases", filter=Q(leases__released_at=None)),
            until=F("metering__until"),
        )
        .filter(Q(open=0) | (Q(began__lt=start) & (Q(until=None) | Q(until__lt=start))))
        .select_related("node")
        .order_by("pk")[:BATCH]
    )
    return sum(attempt_meter(attempt=attempt, now=now) for attempt in rows)


@transaction.atomic
def line_take_back(*, actor: User, line: LedgerLine, note: str = "") -> LedgerLine:
    """Take a line back by a new one of the opposite amount, in this month. Raises Denied, Conflict."""
    access.require(actor, Action.ADMINISTER)
    if line.corrects_id is not None or LedgerLine.objects.filter(corrects=line).exists():
        raise Conflict("billing:taken_back", _("This line was taken back already."))
    try:
        with transaction.atomic():
            made = LedgerLine.objects.create(
                attempt=line.attempt,
                owner=line.owner,
                corrects=line,
                month=selectors.month_now(),
                node_name=line.node_name,
                gpu_model=line.gpu_model,
                began=line.began,
                ended=line.ended,
                gpus=line.gpus,
                gpu_seconds=-line.gpu_seconds,
                price=line.price,
                per_hour=line.per_hour,
                amount=-line.amount,
                currency=line.currency,
                note=note,
            )
    except IntegrityError as error:
        raise Conflict("billing:taken_back", _("This line was taken back already.")) from error
    LedgerShare.objects.bulk_create(
        LedgerShare(line=made, group_id=share.group_id) for share in line.shares.all()
    )
    audit.record(actor=actor, target=line, what="billing:take_back")
    return made
