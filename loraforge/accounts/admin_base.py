"""Bases of every admin page: operators see everything and change only what a page allows; others nothing.

Django's model permissions are not asked: `access` is the one rule, and there are no groups to keep.
"""

from typing import Any, ClassVar

from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from loraforge.accounts import access
from loraforge.accounts.access import Action


class _Seen:
    """What the pages and inlines share: who sees, and that nothing is added, changed or deleted."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return access.may(request.user, Action.OPERATE)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return access.may(request.user, Action.OPERATE)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ReadOnlyModelAdmin(_Seen, ModelAdmin):  # type: ignore[misc]
    """For rows that only a service may write."""

    list_per_page = 50
    show_full_result_count = False


class ReadOnlyInline(_Seen, TabularInline):  # type: ignore[misc]
    """The same inside another page."""

    extra = 0
    can_delete = False
    show_change_link = True


class OperatorModelAdmin(ReadOnlyModelAdmin):
    """For rows of which operators may change the columns in ``editable``; the rest is read-only."""

    editable: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[Action] = Action.OPERATE

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return access.may(request.user, self.needs)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Everything that is not named editable."""
        columns = [field.name for field in self.model._meta.fields]
        extra = [name for name in super().get_readonly_fields(request, obj) if name not in columns]
        return tuple(extra + [name for name in columns if name not in self.editable])
