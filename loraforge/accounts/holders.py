"""Rows that an operator makes for a person or for a group: limits, reservations, budgets."""

from django.contrib.auth.models import Group
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from loraforge.accounts.models import User


class ForUserOrGroup(models.Model):
    """Whom it is for. Whether it may be for neither, the model's own constraint says."""

    user = models.ForeignKey(
        User,
        verbose_name=_("user"),
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
    )
    group = models.ForeignKey(
        Group,
        verbose_name=_("group"),
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
    )

    class Meta:
        abstract = True

    @property
    def holder(self) -> str:
        """Name of the user or group that it is for; empty when it is for neither."""
        return str(self.user or self.group or "")


def for_one(name: str) -> models.CheckConstraint:
    """It is for a user or for a group, and not for both."""
    return models.CheckConstraint(
        condition=Q(user__isnull=False, group=None) | Q(user=None, group__isnull=False),
        name=name,
        violation_error_message=_("Choose either a person or a group."),
    )
