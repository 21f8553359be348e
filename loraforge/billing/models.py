from typing import Any, NoReturn

from auditlog.registry import auditlog
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from loraforge.accounts.holders import ForUserOrGroup, for_one
from loraforge.billing.states import AtLimit, Level
from loraforge.instances.models import Attempt
from loraforge.nodes.models import Node


class Price(models.Model):
    """What a GPU costs an hour, of one node or of one model, on all days from the first to the last.

    Days of one target never overlap: a trigger refuses it. A price that the ledger has used is only ended.
    """

    node = models.ForeignKey(
        Node,
        verbose_name=_("node"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="prices",
    )
    gpu_model = models.CharField(
        _("GPU model"),
        max_length=100,
        blank=True,
        help_text=_(
            "As the list of devices names it. Give a node or a model; the node's price counts first."
        ),
    )
    per_hour = models.DecimalField(
        _("price of a GPU-hour"), max_digits=10, decimal_places=4, validators=[MinValueValidator(0)]
    )
    currency = models.CharField(max_length=3)
    first_day = models.DateField(_("first day"))
    last_day = models.DateField(
        _("last day"), null=True, blank=True, help_text=_("Included; empty = until further notice.")
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("price")
        verbose_name_plural = _("prices")
        ordering = ("node__name", "gpu_model", "first_day")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(node__isnull=False, gpu_model="")
                | (models.Q(node__isnull=True) & ~models.Q(gpu_model="")),
                name="billing_price_of_one_thing",
                violation_error_message=_("Give either a node or a GPU model, not both."),
            ),
            models.CheckConstraint(
                condition=models.Q(per_hour__gte=0), name="billing_price_not_negative"
            ),
            models.CheckConstraint(
                condition=models.Q(last_day__isnull=True)
                | models.Q(last_day__gte=models.F("first_day")),
                name="billing_price_days_in_order",
                violation_error_message=_("The last day comes before the first."),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.node or self.gpu_model} {self.per_hour:f} {self.currency}"


class Metering(models.Model):
    """How far an attempt stands in the ledger: all before ``until``. final: it has ended and is there whole."""

    attempt = models.OneToOneField(
        Attempt, on_delete=models.PROTECT, primary_key=True, related_name="metering"
    )
    until = models.DateTimeField(null=True, blank=True)
    final = models.BooleanField(default=False)

    class Meta:
        verbose_name = _("position of the meter")
        verbose_name_plural = _("positions of the meter")
        indexes = [models.Index(fields=("final",), name="billing_metering_final")]

    def __str__(self) -> str:
        return str(self.attempt)


class NeverRewritten(models.QuerySet["LedgerLine"]):
    """Rows that are only added."""

    def update(self, **_values: Any) -> NoReturn:
        """Refused; a trigger refuses it in the database as well."""
        raise TypeError(REWRITTEN)

    def delete(self) -> NoReturn:
        """Refused."""
        raise TypeError(REWRITTEN)


REWRITTEN = "the ledger is never rewritten: a correction is a new line"


class LedgerLine(models.Model):
    """GPUs that one attempt held for a time at one price, within one month; or the taking back of such a line."""

    attempt = models.ForeignKey(Attempt, on_delete=models.PROTECT, related_name="ledger_lines")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="ledger_lines"
    )
    corrects = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="corrected_by"
    )
    month = models.CharField(max_length=7)  # 2026-11, by the billing zone as it was then
    node_name = models.CharField(max_length=40)
    gpu_model = models.CharField(max_length=100, blank=True)
    began = models.DateTimeField()
    ended = models.DateTimeField()
    gpus = models.PositiveIntegerField()
    gpu_seconds = models.BigIntegerField()  # negative in a line that takes another back
    price = models.ForeignKey(Price, on_delete=models.PROTECT, null=True, related_name="lines")
    per_hour = models.DecimalField(max_digits=10, decimal_places=4)
    amount = models.DecimalField(max_digits=16, decimal_places=3)
    currency = models.CharField(max_length=3)
    note = models.CharField(max_length=200, blank=True)
    written_at = models.DateTimeField(db_default=Now())

    objects = NeverRewritten.as_manager()

    class Meta:
        verbose_name = _("ledger line")
        verbose_name_plural = _("ledger lines")
        ordering = ("-id",)
        indexes = [
            models.Index(fields=("month", "owner", "-id"), name="billing_line_statement"),
            models.Index(fields=("owner", "-id"), name="billing_line_owner"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=("attempt", "gpu_model", "began"),
                condition=models.Q(corrects__isnull=True),
                name="billing_line_once",
            ),
            models.CheckConstraint(
                condition=models.Q(ended__gt=models.F("began")), name="billing_line_lasts"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.month} #{self.pk}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Added once."""
        if not self._state.adding:
            raise TypeError(REWRITTEN)
        super().save(*args, **kwargs)

    def delete(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refused."""
        raise TypeError(REWRITTEN)

    @property
    def seconds(self) -> int:
        """How long it is."""
        return int((self.ended - self.began).total_seconds())


class LedgerShare(models.Model):
    """A group that the owner was in when the line was written: the line is part of the group's statement."""

    line = models.ForeignKey(LedgerLine, on_delete=models.PROTECT, related_name="shares")
    group = models.ForeignKey(Group, on_delete=models.PROTECT, related_name="ledger_shares")

    class Meta:
        verbose_name = _("group of a ledger line")
        verbose_name_plural = _("groups of ledger lines")
        constraints = [models.UniqueConstraint(fields=("line", "group"), name="billing_share_once")]

    def __str__(self) -> str:
        return str(self.group)


AT_LIMIT = (
    (AtLimit.WARN.value, _("Warn only")),
    (AtLimit.BLOCK.value, _("New starts wait")),
    (AtLimit.STOP.value, _("New starts wait, running jobs are stopped and saved")),
)


_HAS_ONE = _("There is a budget for this already. Change that one.")


class Budget(ForUserOrGroup):
    """What a person or a group may use in a month."""

    money = models.DecimalField(
        _("money a month"),
        max_digits=14,
        decimal_places=3,
        null=True,
        blank=True,
        help_text=_("Empty = without limit."),
    )
    gpu_hours = models.DecimalField(
        _("GPU-hours a month"),
        max_digits=12,
        decimal_places=2,
        null=True,
        blank=True,
        help_text=_("Empty = without limit."),
    )
    warn_percent = models.PositiveSmallIntegerField(
        _("warn at (per cent)"),
        default=80,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
    )
    at_limit = models.CharField(
        _("when it is used up"), max_length=5, choices=AT_LIMIT, default=AtLimit.BLOCK.value
    )

    class Meta:
        verbose_name = _("budget")
        verbose_name_plural = _("budgets")
        constraints = [
            for_one("billing_budget_of_one"),
            models.UniqueConstraint(
                fields=("user",),
                name="billing_budget_once_a_user",
                violation_error_message=_HAS_ONE,
            ),
            models.UniqueConstraint(
                fields=("group",),
                name="billing_budget_once_a_group",
                violation_error_message=_HAS_ONE,
            ),
            models.CheckConstraint(
                condition=(models.Q(money__isnull=False) | models.Q(gpu_hours__isnull=False))
                & (models.Q(money__isnull=True) | models.Q(money__gt=0))
                & (models.Q(gpu_hours__isnull=True) | models.Q(gpu_hours__gt=0)),
                name="billing_budget_limits_something",
                violation_error_message=_("Set a limit above 0, of money or of GPU-hours."),
            ),
            models.CheckConstraint(
                condition=models.Q(warn_percent__gte=1, warn_percent__lte=100),
                name="billing_budget_percent",
            ),
        ]

    def __str__(self) -> str:
        return self.holder


class BudgetNotice(models.Model):
    """People were told once in this month that a budget has come to this level."""

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="notices")
    month = models.CharField(max_length=7)
    level = models.CharField(
        max_length=8,
        choices=((Level.WARNING.value, _("nearly used up")), (Level.FULL.value, _("used up"))),
    )
    told_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("notice of a budget")
        verbose_name_plural = _("notices of budgets")
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(fields=("budget", "month", "level"), name="billing_notice_once")
        ]

    def __str__(self) -> str:
        return f"{self.budget} {self.month}"


auditlog.register(Price, exclude_fields=["created_at"])
auditlog.register(Budget)
