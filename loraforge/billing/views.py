"""Pages of usage: one's own statement, and all people's for operators."""

from datetime import date
from typing import Any

from django.conf import settings
from django.core.paginator import Paginator
from django.utils import timezone

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Page
from loraforge.accounts.models import User
from loraforge.billing import budgets, policy, selectors, statements
from loraforge.billing.policy import ONE_DAY

PAGE_SIZE = 50


class UsageBase(Page):
    """What both pages share: the month, and the months beside it."""

    @property
    def person(self) -> User:
        user = self.request.user
        assert isinstance(user, User)  # noqa: S101 - Page lets nobody else in
        return user

    @property
    def month(self) -> str:
        return statements.month_check(self.request.GET.get("month") or selectors.month_now())

    def months(self) -> dict[str, str]:
        """The month before, and the one after unless that is still to come."""
        first, following = policy.month_days(self.month)
        before = first - ONE_DAY if first > date.min else first
        now = selectors.month_now()
        return {
            "month": self.month,
            "before": before.isoformat()[:7],
            "after": following.isoformat()[:7] if self.month < now else "",
        }

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            **self.months(),
            currency=settings.CURRENCY,
            zone=settings.BILLING_TIME_ZONE,
            has_prices=selectors.has_prices(),
            is_now=self.month == selectors.month_now(),
            **kwargs,
        )


class UsagePage(UsageBase):
    """A statement of one person (one's own; operators: anybody's) or one group, with the lines behind it."""

    template_name = "billing/usage.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        group = self.request.GET.get("group", "")[:150]
        owner = self.request.GET.get("user", "")[:150] or ("" if group else self.person.username)
        asked = {"month": self.month, "owner": owner, "group": group}
        rows = statements.line_list(user=self.person, **asked)
        by: statements.By = "group" if group else "user"
        totals = statements.total_list(user=self.person, by=by, **asked)
        is_own = owner == self.person.username and not group
        own = budgets.budgets_of(user=self.person) if is_own else ()
        running = budgets.running_use(now=timezone.now(), owner=self.person) if is_own else {}
        return super().get_context_data(
            owner=owner,
            group=group,
            is_own=is_own,
            may_see_all=access.may(self.person, Action.OPERATE),
            totals=[statements.total_plain(row, by=by) for row in totals],
            page=Paginator(rows, PAGE_SIZE).get_page(self.request.GET.get("page")),
            budgets=budgets.budget_states(own),
            running=running.get(self.person.pk),
            **kwargs,
        )


class UsageAllPage(UsageBase):
    """All people's, or all groups', sums of a month."""

    template_name = "billing/usage_all.html"
    needs = Action.OPERATE

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        by: statements.By = "group" if self.request.GET.get("by") == "group" else "user"
        rows = statements.total_list(user=self.person, by=by, month=self.month)
        page = Paginator(rows, PAGE_SIZE).get_page(self.request.GET.get("page"))
        page.object_list = [statements.total_plain(row, by=by) for row in page.object_list]
        return super().get_context_data(by=by, page=page, **kwargs)
