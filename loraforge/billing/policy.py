"""What leased GPU time costs, and what a budget means. Pure: times, prices and a zone in, lines out.

The rules, said here and nowhere else:

- Time counts in whole seconds of the control plane's clock; parts of a second are cut off both ends.
- A price of the node beats one of the GPU model; days are those of the billing zone; no price is free of charge.
- A line ends where the price changes, where a month ends, or where the number of GPUs changes.
- An attempt's exact cost is summed up line by line, and rounded half up to the currency's smallest coin; a line's
  amount is what it adds to that rounded sum. So the lines of an attempt, however often it was split, make up
  its rounded cost, and every sum of lines is exact.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise

from loraforge.billing.states import Level

BUDGET_USED_UP = "user:budget_used_up"  # why a budget stops a job
SECONDS_OF_HOUR = 3600
MONTHS_OF_YEAR = 12
ONE_DAY = timedelta(days=1)
# Digits behind the point of a currency's smallest coin, where they are not two (ISO 4217).
_DIGITS = {
    **dict.fromkeys(("CLP", "ISK", "JPY", "KRW", "PYG", "RWF", "UGX", "VND", "XAF", "XOF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


def digits_of(currency: str) -> int:
    """Digits behind the point of the currency's smallest coin."""
    return _DIGITS.get(currency, 2)


def rounded(amount: Decimal, *, digits: int) -> Decimal:
    """To the smallest coin, half up."""
    return amount.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)


def hours_of(gpu_seconds: int) -> Decimal:
    """GPU-hours with two digits, to read; the seconds are what counts."""
    return rounded(Decimal(gpu_seconds) / SECONDS_OF_HOUR, digits=2)


def midnight_of(day: date, zone: tzinfo) -> datetime:
    """The moment at which a local day begins, in UTC; where its midnight comes twice, the first.

    The first and the last days that there are have no such moment in every zone: the nearest day's.
    """
    day = min(max(day, date.min + ONE_DAY), date.max - ONE_DAY)
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


def month_of(moment: datetime, zone: tzinfo) -> str:
    """``2026-11``, by the zone's calendar."""
    return f"{moment.astimezone(zone):%Y-%m}"


def month_days(month: str) -> tuple[date, date]:
    """The first day of ``2026-11``, and of the month after it. Raises ValueError for no month."""
    first = date.fromisoformat(f"{month}-01")
    if first.month == MONTHS_OF_YEAR:
        return first, date(first.year + 1, 1, 1)
    return first, date(first.year, first.month + 1, 1)


@dataclass(frozen=True)
class Rate:
    """A price of one GPU for one hour, for a node or (node None) for a GPU model, from first to last day."""

    id: int
    per_hour: Decimal
    first_day: date
    last_day: date | None = None
    node: int | None = None
    gpu_model: str = ""

    def concerns(self, *, node: int, gpu_model: str) -> bool:
        """It is for such a GPU of this node."""
        if self.node is not None:
            return self.node == node
        return self.gpu_model.casefold() == gpu_model.casefold()

    def holds_on(self, day: date) -> bool:
        """The day is one of its days."""
        return self.first_day <= day and (self.last_day is None or day <= self.last_day)

    def overlaps(self, *, first_day: date, last_day: date | None) -> bool:
        """It has a day in common with these; None = without end."""
        begins_in_time = last_day is None or self.first_day <= last_day
        return begins_in_time and (self.last_day is None or first_day <= self.last_day)


def rate_on(day: date, *, rates: Iterable[Rate], node: int, gpu_model: str) -> Rate | None:
    """The price of such a GPU on a local day; None = free of charge."""
    found = [
        rate
        for rate in rates
        if rate.concerns(node=node, gpu_model=gpu_model) and rate.holds_on(day)
    ]
    return min(found, key=lambda rate: (rate.node is None, rate.id), default=None)


@dataclass(frozen=True)
class Lease:
    """One GPU from ``began`` to ``ended``."""

    gpu_model: str
    began: datetime
    ended: datetime


@dataclass(frozen=True)
class Line:
    """GPUs of one model at one price within one month. amount: what it adds to the attempt's rounded cost."""

    gpu_model: str
    began: datetime
    ended: datetime
    gpus: int
    month: str
    rate: Rate | None
    amount: Decimal = Decimal(0)

    @property
    def seconds(self) -> int:
        """How long it is."""
        return int((self.ended - self.began).total_seconds())

    @property
    def gpu_seconds(self) -> int:
        """Seconds times GPUs."""
        return self.seconds * self.gpus


def _whole(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


def _stretches(leases: Iterable[Lease]) -> Iterator[tuple[str, datetime, datetime, int]]:
    """(model, began, ended, GPUs): spans in which the number of leased GPUs of a model does not change."""
    steps: dict[str, dict[datetime, int]] = {}
    for lease in leases:
        began, ended = _whole(lease.began), _whole(lease.ended)
        if began < ended:
            of_model = steps.setdefault(lease.gpu_model, {})
            of_model[began] = of_model.get(began, 0) + 1
            of_model[ended] = of_model.get(ended, 0) - 1
    for model, changes in steps.items():
        moments = sorted(changes)
        held = 0
        for began, ended in pairwise(moments):
            held += changes[began]
            if held:
                yield model, began, ended, held


def _days_of_change(rates: Iterable[Rate]) -> Iterator[date]:
    for rate in rates:
        yield rate.first_day
        if (
            rate.last_day is not None and rate.last_day < date.max
        ):  # which people write for "for ever"
            yield rate.last_day + ONE_DAY


def _month_starts(began: datetime, ended: datetime, zone: tzinfo) -> Iterator[date]:
    month = month_of(began, zone)
    while True:
        _first, following = month_days(month)
        if midnight_of(following, zone) >= ended:
            return
        yield following
        month = f"{following:%Y-%m}"


def _pieces(
    leases: Iterable[Lease],
    *,
    rates: Sequence[Rate],
    node: int,
    zone: tzinfo,
    until: datetime | None,
) -> Iterator[Line]:
    for model, began, ended, gpus in _stretches(leases):
        own = [rate for rate in rates if rate.concerns(node=node, gpu_model=model)]
        days = {*_days_of_change(own), *_month_starts(began, ended, zone)}
        cuts = sorted(
            {*(_whole(midnight_of(day, zone)) for day in days), *([until] if until else [])}
        )
        moments = [began, *(cut for cut in cuts if began < cut < ended), ended]
        last: Line | None = None
        for start, end in pairwise(moments):
            day = start.astimezone(zone).date()
            rate = rate_on(day, rates=own, node=node, gpu_model=model)
            piece = Line(model, start, end, gpus, f"{day:%Y-%m}", rate)
            alike = last is not None and (last.rate, last.month) == (piece.rate, piece.month)
            if last is not None and alike and start != until:
                last = replace(last, ended=end)
                continue
            if last is not None:
                yield last
            last = piece
        if last is not None:
            yield last


def lines_of(
    *,
    leases: Iterable[Lease],
    rates: Sequence[Rate],
    node: int,
    zone: tzinfo,
    digits: int,
    until: datetime | None = None,
) -> list[Line]:
    """The lines of one attempt, by their beginning; the sum of the amounts is the attempt's rounded cost.

    Lines that lie before a month's end are the same whether the attempt has ended or goes on. until: a line ends
    there in any case, since all before it was written earlier, perhaps by another calendar.
    """
    pieces = sorted(
        _pieces(leases, rates=rates, node=node, zone=zone, until=until),
        key=lambda piece: (piece.began, piece.gpu_model),
    )
    found: list[Line] = []
    spent = Decimal(0)  # exact: price of an hour times seconds
    told = Decimal(0)
    for piece in pieces:
        if piece.rate is not None:
            spent += piece.rate.per_hour * piece.gpu_seconds
        total = rounded(spent / SECONDS_OF_HOUR, digits=digits)
        found.append(replace(piece, amount=total - told))
        told = total
    return found


@dataclass(frozen=True)
class Used:
    """What a month has used up so far."""

    money: Decimal = Decimal(0)
    gpu_seconds: int = 0

    def __add__(self, other: "Used") -> "Used":
        return Used(self.money + other.money, self.gpu_seconds + other.gpu_seconds)


@dataclass(frozen=True)
class Limit:
    """What a month may use; None = without limit."""

    money: Decimal | None = None
    gpu_hours: Decimal | None = None
    warn_percent: int = 80


def percent_used(limit: Limit, used: Used) -> int:
    """Whole percent of the limit that is nearer to its end, rounded down; may be over 100."""
    parts = [Decimal(0)]
    if limit.money:
        parts.append(used.money * 100 / limit.money)
    if limit.gpu_hours:
        parts.append(Decimal(used.gpu_seconds) * 100 / (limit.gpu_hours * SECONDS_OF_HOUR))
    return int(max(parts))


def level_of(limit: Limit, used: Used) -> Level:
    """What these percent mean."""
    percent = percent_used(limit, used)
    if percent >= 100:  # noqa: PLR2004 - per cent
        return Level.FULL
    return Level.WARNING if percent >= limit.warn_percent else Level.FINE
