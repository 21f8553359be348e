"""Bases of every admin page: operators see everything and change only what a page allows; others nothing.

Django's model permissions are not asked: `access` is the one rule, and there are no groups to keep.
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from django.contrib import messages
from django.db.models import Model
from django.http import HttpRequest
from django.utils.functional import Promise
from unfold.admin import ModelAdmin, TabularInline

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core.errors import LoraForgeError


def person(request: HttpRequest) -> User:
    """Who pressed; the admin lets nobody else than people in."""
    user = request.user
    if not isinstance(user, User):
        message = "an admin action ran for somebody who is not signed in"
        raise TypeError(message)
    return user


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
    """For rows that only a service may write.

    ``shown`` names the columns of a row's page: groups of (title, columns). An action calls
    `run_each`; `has_operate_permission` and `has_administer_permission` say who sees it.
    """

    list_per_page = 50
    show_full_result_count = False
    list_filter_submit = False
    shown: ClassVar[tuple[tuple[str | Promise | None, tuple[str, ...]], ...]] = ()

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if not self.shown:
            return super().get_fieldsets(request, obj)
        return [(title, {"fields": columns}) for title, columns in self.shown]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        named = [name for _title, columns in self.shown for name in columns]
        return (*super().get_readonly_fields(request, obj), *named)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Who may run what operators do."""
        return access.may(request.user, Action.OPERATE)

    def has_administer_permission(self, request: HttpRequest) -> bool:
        """Who may run what administrators do."""
        return access.may(request.user, Action.ADMINISTER)

    def run_each(
        self,
        request: HttpRequest,
        rows: Iterable[Any],
        service: Callable[[Any], object],
        *,
        done: str,
    ) -> None:
        """Run a service on every row; ``done`` tells of those that worked, each refusal is told too."""
        worked = 0
        for row in rows:
            try:
                service(row)
            except LoraForgeError as error:
                messages.error(request, f"{row}: {error.message}")
            else:
                worked += 1
        if worked:
            messages.success(request, f"{done} ({worked})")


class ReadOnlyInline(_Seen, TabularInline):  # type: ignore[misc]
    """The same inside another page."""

    extra = 0
    can_delete = False
    show_change_link = True
    tab = True

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """All of them: an inline's columns are functions of `admin_columns`."""
        return self.fields or ()


class AdministeredModelAdmin(_Seen, ModelAdmin):  # type: ignore[misc]
    """For rows that administrators add, change and delete; operators see them."""

    list_per_page = 50
    show_full_result_count = False
    list_filter_submit = False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """What is only to read says nothing of a row that is not there yet."""
        read = set(self.get_readonly_fields(request, obj)) if obj is None else set()
        return [name for name in super().get_fields(request, obj) if name not in read]

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return access.may(request.user, Action.ADMINISTER)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return access.may(request.user, Action.ADMINISTER)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return access.may(request.user, Action.ADMINISTER)
