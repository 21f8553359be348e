"""Prices and budgets, which administrators set; the ledger and its bookkeeping, which nobody changes."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from loraforge.accounts import admin_columns as columns
from loraforge.accounts.admin_base import (
    AdministeredModelAdmin,
    ReadOnlyInline,
    ReadOnlyModelAdmin,
    person,
)
from loraforge.billing import services
from loraforge.billing.models import (
    Budget,
    BudgetNotice,
    LedgerLine,
    LedgerShare,
    Metering,
    Price,
)
from loraforge.billing.texts import money_said
from loraforge.core.errors import Invalid


class PriceForm(forms.ModelForm):  # type: ignore[type-arg]
    """Judged by the service, which names the field."""

    class Meta:
        model = Price
        fields = ("node", "gpu_model", "per_hour", "first_day", "last_day")

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if self.errors:
            return given
        price = Price(pk=self.instance.pk, currency=self.instance.currency or services.currency())
        for name in self.Meta.fields:
            setattr(price, name, given.get(name))
        try:
            services.price_check(price)
        except Invalid as error:
            for field, texts in error.fields.items():
                self.add_error(field, texts)
        return given


@admin.register(Price)
class PriceAdmin(AdministeredModelAdmin):
    """What a GPU-hour costs. One that the ledger has used is ended, not changed."""

    form = PriceForm
    list_display = ("of", "per_hour_shown", "currency_shown", "first_shown", "last_shown")
    list_filter = (
        ("node", columns.filter_titled(gettext_lazy("node"))),
        ("first_day", columns.filter_titled(gettext_lazy("first day"))),
    )
    search_fields = ("node__name", "gpu_model")
    list_select_related = ("node",)
    readonly_fields = ("audited",)
    fields = ("node", "gpu_model", "per_hour", "first_day", "last_day", "audited")

    per_hour_shown = columns.plain("per_hour", gettext_lazy("price of a GPU-hour"))
    currency_shown = columns.plain("currency", gettext_lazy("currency"))
    first_shown = columns.plain("first_day", gettext_lazy("first day"))
    last_shown = columns.plain("last_day", gettext_lazy("last day"))
    audited = columns.audited()

    @admin.display(description=gettext_lazy("of"), ordering="node__name")
    def of(self, price: Price) -> str:
        return price.node.name if price.node else price.gpu_model

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        is_used = isinstance(obj, Price) and obj.lines.exists()
        return super().has_delete_permission(request, obj) and not is_used

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001
        services.price_save(actor=person(request), price=obj)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        services.price_delete(actor=person(request), price=obj)


@admin.register(Budget)
class BudgetAdmin(AdministeredModelAdmin):
    """What a person or a group may use in a month."""

    list_display = ("of", "money_shown", "hours_shown", "warn_shown", "limit_shown")
    list_filter = (("at_limit", columns.filter_titled(gettext_lazy("when it is used up"))),)
    search_fields = ("user__username", "group__name")
    list_select_related = ("user", "group")
    readonly_fields = ("audited",)
    fields = ("user", "group", "money", "gpu_hours", "warn_percent", "at_limit", "audited")

    hours_shown = columns.plain("gpu_hours", gettext_lazy("GPU-hours a month"))
    warn_shown = columns.plain("warn_percent", gettext_lazy("warn at (per cent)"))
    limit_shown = columns.plain("at_limit", gettext_lazy("when it is used up"))
    audited = columns.audited()

    @admin.display(description=gettext_lazy("of"))
    def of(self, budget: Budget) -> str:
        return str(budget)

    @admin.display(description=gettext_lazy("money a month"), ordering="money")
    def money_shown(self, budget: Budget) -> str:
        money = budget.money
        return columns.EMPTY if money is None else money_said(money, services.currency())

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Its notices, which nobody deletes by themselves, go with it."""
        shown, counts, _forbidden, protected = super().get_deleted_objects(objs, request)
        return shown, counts, set(), protected

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001
        services.budget_save(actor=person(request), budget=obj)


class LedgerShareInline(ReadOnlyInline):
    model = LedgerShare
    fields = ("group_shown",)

    group_shown = columns.plain("group", gettext_lazy("group"))


@admin.register(LedgerLine)
class LedgerLineAdmin(ReadOnlyModelAdmin):
    """The ledger. A line is taken back by a new one."""

    list_display = (
        *("number", "month_shown", "owner_shown", "attempt_shown", "model_shown", "began_shown"),
        *("gpus_shown", "amount_shown"),
    )
    list_filter = (
        ("month", columns.filter_titled(gettext_lazy("month"))),
        ("owner", columns.filter_titled(gettext_lazy("owner"))),
    )
    search_fields = ("owner__username", "node_name", "gpu_model", "=attempt__instance__id")
    list_select_related = ("owner", "attempt", "corrects")
    date_hierarchy = "began"
    inlines = (LedgerShareInline,)
    actions = ("take_back",)
    shown = (
        (
            None,
            (
                *("number", "month_shown", "owner_shown", "attempt_shown", "node_shown"),
                *("model_shown", "began_shown", "ended_shown", "gpus_shown", "seconds_shown"),
                *(
                    "price_shown",
                    "amount_shown",
                    "written",
                    "takes_back",
                    "said",
                    "audited",
                ),
            ),
        ),
    )

    number = columns.number("pk", gettext_lazy("number"))
    month_shown = columns.plain("month", gettext_lazy("month"))
    owner_shown = columns.linked("owner", gettext_lazy("owner"))
    attempt_shown = columns.linked("attempt", gettext_lazy("attempt"))
    node_shown = columns.plain("node_name", gettext_lazy("node"))
    model_shown = columns.plain("gpu_model", gettext_lazy("GPU model"))
    began_shown = columns.when("began", gettext_lazy("began"))
    ended_shown = columns.when("ended", gettext_lazy("ended"))
    gpus_shown = columns.plain("gpus", gettext_lazy("GPUs"))
    seconds_shown = columns.plain("gpu_seconds", gettext_lazy("GPU-seconds"))
    price_shown = columns.plain("per_hour", gettext_lazy("price of a GPU-hour"))
    written = columns.when("written_at", gettext_lazy("written"))
    takes_back = columns.linked("corrects", gettext_lazy("takes back"))
    said = columns.plain("note", gettext_lazy("note"))
    audited = columns.audited()

    @admin.display(description=gettext_lazy("amount"), ordering="amount")
    def amount_shown(self, line: LedgerLine) -> str:
        return money_said(line.amount, line.currency)

    @admin.action(description=gettext_lazy("Take back"), permissions=["administer"])
    def take_back(self, request: HttpRequest, queryset: QuerySet[LedgerLine]) -> None:
        self.run_each(
            request,
            queryset.select_related("attempt", "owner", "price"),
            lambda line: services.line_take_back(actor=person(request), line=line),
            done=_("Taken back by a new line."),
        )


@admin.register(Metering)
class MeteringAdmin(ReadOnlyModelAdmin):
    """How far each attempt stands in the ledger."""

    list_display = ("attempt_shown", "until_shown", "is_final")
    list_filter = (("final", columns.filter_titled(gettext_lazy("written whole"))),)
    search_fields = ("=attempt__instance__id",)
    list_select_related = ("attempt",)
    shown = ((None, ("attempt_shown", "until_shown", "is_final")),)

    attempt_shown = columns.linked("attempt", gettext_lazy("attempt"))
    until_shown = columns.when("until", gettext_lazy("written until"))
    is_final = columns.plain("final", gettext_lazy("written whole"), boolean=True)


@admin.register(BudgetNotice)
class BudgetNoticeAdmin(ReadOnlyModelAdmin):
    """Who was told of which budget."""

    list_display = ("of", "month_shown", "level_shown", "told")
    list_filter = (("level", columns.filter_titled(gettext_lazy("level"))),)
    search_fields = ("budget__user__username", "budget__group__name")
    list_select_related = ("budget__user", "budget__group")
    shown = ((None, ("of", "month_shown", "level_shown", "told")),)

    of = columns.linked("budget", gettext_lazy("budget"))
    month_shown = columns.plain("month", gettext_lazy("month"))
    level_shown = columns.plain("level", gettext_lazy("level"))
    told = columns.when("told_at", gettext_lazy("told"))
