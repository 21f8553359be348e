"""Budgets of a month: how much is used, who has to wait for it, who is told, and what is stopped."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.billing import policy, selectors
from loraforge.billing.models import Budget, BudgetNotice, LedgerLine, LedgerShare
from loraforge.billing.policy import BUDGET_USED_UP, Limit, Used
from loraforge.billing.states import AtLimit, Level
from loraforge.core import events
from loraforge.core.errors import Conflict
from loraforge.instances.models import DeviceLease, Instance
from loraforge.instances.services import instance_stop
from loraforge.instances.states import State

# What has begun to end is left to it; what cannot be heard is asked once it is.
STOPPED_STATES = (State.ASSIGNED, State.PREPARING, State.RUNNING)


@dataclass(frozen=True)
class BudgetState:
    """A budget, and what of it is used in this month."""

    budget: Budget
    used: Used
    month: str

    @property
    def limit(self) -> Limit:
        """As the policy knows it."""
        return Limit(self.budget.money, self.budget.gpu_hours, self.budget.warn_percent)

    @property
    def percent(self) -> int:
        """Of the limit that is nearer to its end."""
        return policy.percent_used(self.limit, self.used)

    @property
    def level(self) -> Level:
        """Fine, nearly used up, or used up."""
        return policy.level_of(self.limit, self.used)

    @property
    def money_used(self) -> Decimal:
        """To the coin."""
        return selectors.money(self.used.money)

    @property
    def hours_used(self) -> Decimal:
        """To read."""
        return policy.hours_of(self.used.gpu_seconds)

    @property
    def limit_said(self) -> str:
        """``100.00 CNY · 50 GPU-h``, the same in every language."""
        parts = []
        if self.budget.money is not None:
            parts.append(f"{selectors.money(self.budget.money):,} {settings.CURRENCY}")
        if self.budget.gpu_hours is not None:
            parts.append(f"{self.budget.gpu_hours.normalize():,f} GPU-h")
        return " · ".join(parts)


def budgets_of(*, user: User) -> QuerySet[Budget]:
    """A person's own budget and those of their groups."""
    return _with_names(Budget.objects.filter(Q(user=user) | Q(group__user=user)).distinct())


def _with_names(rows: QuerySet[Budget]) -> QuerySet[Budget]:
    return rows.select_related("user", "group").order_by("pk")


def budget_states(budgets: Iterable[Budget], *, now: datetime | None = None) -> list[BudgetState]:
    """What is used of each, running attempts included; seven queries, however many."""
    rows = list(budgets)
    if not rows:
        return []
    now = now or timezone.now()
    month = selectors.month_now(now)
    running = running_use(now=now)
    groups = {row.group_id for row in rows if row.group_id}
    members: dict[int, list[int]] = {}
    through = User.groups.through.objects.filter(group_id__in=groups)
    for group, member in through.values_list("group_id", "user_id"):
        members.setdefault(group, []).append(member)
    by_user = _written(
        LedgerLine.objects.filter(month=month, owner__in={row.user_id for row in rows}), "owner"
    )
    shares = LedgerShare.objects.filter(line__month=month, group__in=groups)
    by_group = _shared(shares)
    found = []
    for row in rows:
        if row.user_id:
            used = by_user.get(row.user_id, Used()) + running.get(row.user_id, Used())
        else:
            used = by_group.get(row.group_id or 0, Used())
            for member in members.get(row.group_id or 0, []):
                used += running.get(member, Used())
        found.append(BudgetState(budget=row, used=used, month=month))
    return found


def _written(rows: QuerySet[LedgerLine], key: str) -> dict[int, Used]:
    amount = Sum("amount", filter=Q(currency=settings.CURRENCY))
    sums: Any = rows.order_by().values_list(key).annotate(money=amount, time=Sum("gpu_seconds"))
    return {one: Used(selectors.money(money), time or 0) for one, money, time in sums}


def _shared(rows: QuerySet[LedgerShare]) -> dict[int, Used]:
    amount = Sum("line__amount", filter=Q(line__currency=settings.CURRENCY))
    sums: Any = rows.values_list("group").annotate(money=amount, time=Sum("line__gpu_seconds"))
    return {one: Used(selectors.money(money), time or 0) for one, money, time in sums}


def running_use(*, now: datetime, owner: User | None = None) -> dict[int, Used]:
    """Owner id -> what their attempts have used in this month and the ledger does not have yet."""
    leases = DeviceLease.objects.filter(selectors.NOT_FINAL)
    if owner is not None:
        leases = leases.filter(attempt__instance__owner=owner)
    month = selectors.month_now(now)
    found: dict[int, Used] = {}
    metered = selectors.metered(leases, rates=selectors.rates_now(), now=now)
    for one in metered.values():
        fresh = selectors.used_by(line for line in one.unwritten if line.month == month)
        found[one.owner] = found.get(one.owner, Used()) + fresh
    return found


def budgets_blocking(*, owners: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Owner id -> of whom the budget is that keeps their jobs from starting, and its limit.

    One query where no budget concerns them.
    """
    wanted = set(owners)
    concerned = Budget.objects.exclude(at_limit=AtLimit.WARN).filter(
        Q(user__in=wanted) | Q(group__user__in=wanted)
    )
    full = [
        state
        for state in budget_states(_with_names(concerned.distinct()))
        if state.level is Level.FULL
    ]
    if not full:
        return {}
    members = User.groups.through.objects.filter(
        group_id__in={state.budget.group_id for state in full if state.budget.group_id},
        user_id__in=wanted,
    ).values_list("group_id", "user_id")
    of_group: dict[int, list[int]] = {}
    for group, member in members:
        of_group.setdefault(group, []).append(member)
    blocked: dict[int, dict[str, Any]] = {}
    for state in full:
        own = state.budget.user_id
        for owner in [own] if own else of_group.get(state.budget.group_id or 0, []):
            blocked.setdefault(owner, {"budget": str(state.budget), "limit": state.limit_said})
    return blocked


def budgets_review(*, now: datetime | None = None) -> int:
    """Tell of budgets that come to their end, once a month each, and stop what one says to stop.

    Returns how many instances were asked to stop; asked again at every look until they end.
    """
    stopped = 0
    for state in budget_states(_with_names(Budget.objects.all()), now=now):
        if state.level is Level.FINE:
            continue
        _tell(state)
        if state.level is Level.FULL and state.budget.at_limit == AtLimit.STOP:
            stopped += sum(_stop(instance) for instance in _running_of(state.budget))
    return stopped


@transaction.atomic
def _tell(state: BudgetState) -> None:
    _notice, is_new = BudgetNotice.objects.get_or_create(
        budget=state.budget, month=state.month, level=state.level
    )
    if is_new:
        people = User.objects.filter(is_active=True)
        own = Q(pk=state.budget.user_id) if state.budget.user_id else Q(groups=state.budget.group)
        events.emit(
            events.BUDGET_REACHED,
            people=list(people.filter(own)),
            budget=str(state.budget),
            level=str(state.level),
            percent=state.percent,
            limit=state.limit_said,
        )


def _running_of(budget: Budget) -> list[Instance]:
    """What holds GPUs of the budget's people; CPU slots use up nothing."""
    owner = Q(owner=budget.user_id) if budget.user_id else Q(owner__groups=budget.group)
    held = DeviceLease.objects.filter(released_at=None).exclude(
        device_uuid__startswith=selectors.CPU_SLOT
    )
    return list(
        Instance.objects.filter(
            owner, state__in=STOPPED_STATES, pk__in=held.values("attempt__instance")
        )
    )


def _stop(instance: Instance) -> bool:
    try:
        instance_stop(actor=None, instance=instance, mode="save", reason=BUDGET_USED_UP)
    except Conflict:
        return False  # it has ended, or somebody stops it
    return True
