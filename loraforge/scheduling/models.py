from auditlog.registry import auditlog
from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from loraforge.accounts.holders import ForUserOrGroup, for_one
from loraforge.nodes.models import Node


class CapScope(models.TextChoices):
    """Whom a limit counts together; `facts.Scope` in words."""

    ALL = "all", _("Everybody together")
    EACH_USER = "each_user", _("Each user")
    USER = "user", _("One user")
    EACH_GROUP = "each_group", _("Each group")
    GROUP = "group", _("One group")


class RunCap(ForUserOrGroup):
    """How many jobs may be active at once. It goes before the setting of the same scope."""

    scope = models.CharField(_("for"), max_length=12, choices=CapScope.choices)
    kind = models.CharField(
        _("kind of job"), max_length=12, blank=True
    )  # instance kind or SWIFT command; "" = all kinds together
    limit = models.PositiveSmallIntegerField(_("at most"))
    notes = models.TextField(_("notes"), blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("limit of running jobs")
        verbose_name_plural = _("limits of running jobs")
        ordering = ("scope", "id")
        constraints = [
            models.CheckConstraint(
                condition=Q(scope=CapScope.USER, user__isnull=False)
                | (~Q(scope=CapScope.USER) & Q(user=None)),
                name="scheduling_cap_names_its_user",
            ),
            models.CheckConstraint(
                condition=Q(scope=CapScope.GROUP, group__isnull=False)
                | (~Q(scope=CapScope.GROUP) & Q(group=None)),
                name="scheduling_cap_names_its_group",
            ),
            models.UniqueConstraint(
                fields=("scope", "kind"),
                condition=Q(user=None, group=None),
                name="scheduling_cap_once",
            ),
            models.UniqueConstraint(
                fields=("user", "kind"),
                condition=Q(user__isnull=False),
                name="scheduling_cap_once_a_user",
            ),
            models.UniqueConstraint(
                fields=("group", "kind"),
                condition=Q(group__isnull=False),
                name="scheduling_cap_once_a_group",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.holder or self.get_scope_display()}: {self.limit}"


class Reservation(ForUserOrGroup):
    """Devices of a node that are kept for a user or a group for some time. Reservations of a device never overlap."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="reservations")
    devices = models.JSONField(default=list, blank=True)  # UUIDs; empty = all that the node has
    starts_at = models.DateTimeField(_("starts"))
    ends_at = models.DateTimeField(_("ends"))
    reason = models.CharField(_("reason"), max_length=200)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())
    cancelled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("reservation")
        verbose_name_plural = _("reservations")
        ordering = ("starts_at", "id")
        indexes = [
            models.Index(
                fields=("ends_at", "node"),
                condition=Q(cancelled_at=None),
                name="scheduling_reserved",
            )
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(ends_at__gt=F("starts_at")), name="scheduling_reserved_for_some_time"
            ),
            for_one("scheduling_reserved_for_one"),
        ]

    def __str__(self) -> str:
        return f"{self.node} {self.starts_at:%Y-%m-%d %H:%M} - {self.ends_at:%Y-%m-%d %H:%M}"


auditlog.register(RunCap, exclude_fields=["created_at"])
auditlog.register(Reservation, exclude_fields=["created_at"])
