"""The meter's arithmetic: lines, cuts, rounding, days of a zone."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraforge.billing.policy import (
    Lease,
    Limit,
    Line,
    Rate,
    Used,
    digits_of,
    level_of,
    lines_of,
    midnight_of,
    month_days,
    month_of,
    percent_used,
    rounded,
)
from loraforge.billing.states import Level

SHANGHAI = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")
HAVANA = ZoneInfo("America/Havana")  # its clocks change at midnight
H100 = "NVIDIA H100 80GB HBM3"
BEGAN = datetime(2026, 11, 3, 10, tzinfo=UTC)
NODE = 7


def rate(number: int, price: str, first: date, last: date | None = None, **of: object) -> Rate:
    target = of or {"gpu_model": H100}
    return Rate(number, Decimal(price), first, last, **target)  # type: ignore[arg-type]


def lines(
    *leases: Lease, rates: list[Rate], zone: ZoneInfo = SHANGHAI, digits: int = 2
) -> list[Line]:
    return lines_of(leases=leases, rates=rates, node=NODE, zone=zone, digits=digits)


def lease(began: datetime, seconds: float, model: str = H100) -> Lease:
    return Lease(model, began, began + timedelta(seconds=seconds))


ALWAYS = rate(1, "12.5", date(2020, 1, 1))


def test_an_hour_of_two_gpus() -> None:
    (line,) = lines(lease(BEGAN, 3600), lease(BEGAN, 3600), rates=[ALWAYS])
    assert (line.gpus, line.seconds, line.gpu_seconds) == (2, 3600, 7200)
    assert (line.amount, line.month) == (Decimal("25.00"), "2026-11")


def test_without_a_price_it_is_free_and_still_counted() -> None:
    (line,) = lines(lease(BEGAN, 60), rates=[])
    assert (line.rate, line.amount, line.gpu_seconds) == (None, Decimal("0.00"), 60)


def test_the_price_of_the_node_beats_that_of_the_model() -> None:
    own = rate(2, "1", date(2026, 1, 1), node=NODE)
    other = rate(3, "9", date(2026, 1, 1), node=NODE + 1)
    (line,) = lines(lease(BEGAN, 3600, H100.lower()), rates=[ALWAYS, own, other])
    assert line.rate == own


def test_a_change_of_price_splits_at_local_midnight() -> None:
    old = rate(1, "10", date(2026, 1, 1), date(2026, 11, 3))
    new = rate(2, "20", date(2026, 11, 4))
    first, second = lines(lease(BEGAN, 10 * 3600), rates=[old, new])
    assert first.ended == second.began == datetime(2026, 11, 3, 16, tzinfo=UTC)  # 0:00 in Shanghai
    assert (first.amount, second.amount) == (Decimal("60.00"), Decimal("80.00"))


@pytest.mark.parametrize("zone", [SHANGHAI, HAVANA])
def test_a_price_for_all_days_that_there_are(zone: ZoneInfo) -> None:
    ever = rate(1, "10", date.min, date.max)
    (line,) = lines(lease(BEGAN, 3600), rates=[ever], zone=zone)
    assert (line.rate, line.amount) == (ever, Decimal("10.00"))


def test_a_gap_between_prices_is_free() -> None:
    old = rate(1, "10", date(2026, 1, 1), date(2026, 11, 3))
    found = lines(lease(BEGAN, 10 * 3600), rates=[old])
    assert [line.amount for line in found] == [Decimal("60.00"), Decimal("0.00")]


def test_a_month_ends_at_local_midnight() -> None:
    last_evening = datetime(2026, 11, 30, 15, 59, 59, tzinfo=UTC)
    found = lines(lease(last_evening, 2), rates=[ALWAYS])
    assert [(line.month, line.seconds) for line in found] == [("2026-11", 1), ("2026-12", 1)]
    assert month_of(last_evening, SHANGHAI) == "2026-11"
    assert [line.month for line in lines(lease(last_evening, 2), rates=[ALWAYS], zone=BERLIN)] == [
        "2026-11"
    ]


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 7, 1), 24)]
)
def test_a_day_is_as_long_as_its_clock_says(day: date, hours: int) -> None:
    began, ended = midnight_of(day, BERLIN), midnight_of(day + timedelta(days=1), BERLIN)
    assert ended - began == timedelta(hours=hours)
    that_day = rate(1, "1", day, day)
    leased = lease(began - timedelta(days=2), 5 * 86400)
    priced = [line for line in lines(leased, rates=[that_day], zone=BERLIN) if line.rate]
    assert [line.seconds for line in priced] == [hours * 3600]


def test_a_midnight_that_comes_twice_or_never_cuts_once() -> None:
    for day in (date(2026, 3, 8), date(2026, 11, 1)):
        began = midnight_of(day, HAVANA)
        assert (began - timedelta(seconds=1)).astimezone(HAVANA).date() == day - timedelta(days=1)
        that_day = rate(1, "1", day)
        found = lines(lease(began - timedelta(hours=5), 10 * 3600), rates=[that_day], zone=HAVANA)
        at = [line.began for line in found if line.rate]
        assert at == [began]


def test_parts_of_a_second_are_cut_off_and_less_than_one_is_nothing() -> None:
    began = BEGAN + timedelta(milliseconds=900)
    assert lines(Lease(H100, began, began + timedelta(milliseconds=50)), rates=[ALWAYS]) == []
    (line,) = lines(Lease(H100, began, began + timedelta(milliseconds=150)), rates=[ALWAYS])
    assert line.seconds == 1
    assert lines(Lease(H100, BEGAN, BEGAN - timedelta(hours=2)), rates=[ALWAYS]) == []


def test_gpus_that_come_and_go_are_lines_of_their_own() -> None:
    found = lines(lease(BEGAN, 100), lease(BEGAN, 60), lease(BEGAN, 30, "L4"), rates=[ALWAYS])
    assert [(line.gpu_model, line.gpus, line.seconds) for line in found] == [
        ("L4", 1, 30),
        (H100, 2, 60),
        (H100, 1, 40),
    ]


def test_coins() -> None:
    assert [digits_of(one) for one in ("EUR", "JPY", "KWD")] == [2, 0, 3]
    assert rounded(Decimal("0.005"), digits=2) == Decimal("0.01")
    (line,) = lines(lease(BEGAN, 3600), rates=[rate(1, "0.4999", date(2026, 1, 1))], digits=0)
    assert line.amount == 0


MOMENTS = st.integers(0, 2 * 365 * 86400).map(
    lambda seconds: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)
PRICES = st.decimals(min_value=0, max_value=500, places=4)
CUTS = st.lists(st.dates(date(2025, 1, 1), date(2027, 1, 1)), max_size=6, unique=True)
SECONDS = st.integers(0, 90 * 86400)
ZONES = st.sampled_from([SHANGHAI, BERLIN, HAVANA, ZoneInfo("UTC")])


@given(st.tuples(MOMENTS, SECONDS), PRICES, CUTS, ZONES, st.integers(1, 8))
def test_split_lines_at_one_price_make_up_the_unsplit_cost(
    span: tuple[datetime, int], price: Decimal, cuts: list[date], zone: ZoneInfo, gpus: int
) -> None:
    began, seconds = span
    days = [date(2020, 1, 1), *sorted(cuts)]
    lasts = [*(day - timedelta(days=1) for day in days[1:]), None]
    rates = [
        Rate(number, price, first, last, gpu_model=H100)
        for number, (first, last) in enumerate(zip(days, lasts, strict=True))
    ]
    found = lines(*[lease(began, seconds)] * gpus, rates=rates, zone=zone)
    total = sum((line.amount for line in found), Decimal(0))
    assert total == rounded(price * gpus * seconds / 3600, digits=2)
    assert sum(line.gpu_seconds for line in found) == gpus * seconds
    for before, after in pairwise(found):
        assert before.ended == after.began
    for line in found:
        first, following = month_days(line.month)
        assert midnight_of(first, zone) <= line.began
        assert line.ended <= midnight_of(following, zone)


@given(MOMENTS, SECONDS, SECONDS, st.tuples(PRICES, PRICES), ZONES)
def test_lines_of_past_months_stay_when_the_attempt_goes_on(
    began: datetime, seconds: int, more: int, prices: tuple[Decimal, Decimal], zone: ZoneInfo
) -> None:
    one, two = prices
    change = date(2026, 1, 15)
    rates = [
        Rate(1, one, date(2020, 1, 1), change - timedelta(days=1), gpu_model=H100),
        Rate(2, two, change, gpu_model=H100),
    ]
    early = lines(lease(began, seconds), rates=rates, zone=zone)
    late = lines(lease(began, seconds + more), rates=rates, zone=zone)
    now = began + timedelta(seconds=seconds)
    start = midnight_of(month_days(month_of(now, zone))[0], zone)
    assert [line for line in early if line.ended <= start] == [
        line for line in late if line.ended <= start
    ]


@pytest.mark.parametrize(
    ("money", "hours", "percent", "level"),
    [
        ("79.99", 0, 79, Level.FINE),
        ("80", 0, 80, Level.WARNING),
        ("10", 9, 90, Level.WARNING),
        ("100", 0, 100, Level.FULL),
        ("0", 11, 110, Level.FULL),
    ],
)
def test_a_budget_is_as_full_as_its_fuller_half(
    money: str, hours: int, percent: int, level: Level
) -> None:
    limit = Limit(money=Decimal(100), gpu_hours=Decimal(10))
    used = Used(Decimal(money), hours * 3600)
    assert (percent_used(limit, used), level_of(limit, used)) == (percent, level)


def test_what_has_no_limit_is_never_full() -> None:
    assert level_of(Limit(), Used(Decimal(10**9), 10**12)) is Level.FINE
