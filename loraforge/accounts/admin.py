"""Users and API tokens."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from loraforge.accounts import access, services
from loraforge.accounts.access import Action
from loraforge.accounts.admin_base import ReadOnlyModelAdmin
from loraforge.accounts.models import ApiToken, Role, User


class PasswordForm(AdminPasswordChangeForm):
    """Goes through the service, so that tokens end with the old password."""

    def save(self, commit: bool = True) -> User:  # noqa: FBT001, FBT002 - Django's signature
        user: User = self.user
        services.password_set(actor=None, user=user, password=self.cleaned_data["password1"])
        return user


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[misc, type-arg]
    """Administrators add and change people; operators look."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = PasswordForm
    list_display = ("username", "role", "is_active", "last_login", "date_joined")
    list_filter = ("role", "is_active")
    ordering = ("username",)
    readonly_fields = ("last_login", "date_joined", "is_staff", "is_superuser")
    fieldsets = (
        (None, {"fields": ("username", "password", "role", "is_active")}),
        (_("Person"), {"fields": ("first_name", "last_name", "email", "language")}),
        (_("Rights and dates"), {"fields": readonly_fields}),
    )
    add_fieldsets: Any = (
        (None, {"classes": ("wide",), "fields": ("username", "role", "password1", "password2")}),
    )

    def has_module_permission(self, request: HttpRequest) -> bool:
        return access.may(request.user, Action.OPERATE)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return access.may(request.user, Action.OPERATE)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return access.may(request.user, Action.ADMINISTER)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return access.may(request.user, Action.ADMINISTER)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A person owns jobs and stands in the audit log: disable instead."""
        return False

    def save_model(
        self,
        request: HttpRequest,
        obj: Any,
        form: Any,
        change: bool,  # noqa: FBT001
    ) -> None:
        """Operators and administrators may open this site; nobody else."""
        obj.is_staff = obj.is_superuser or obj.role in {Role.OPERATOR, Role.ADMIN}
        super().save_model(request, obj, form, change)


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyModelAdmin):
    """Whose tokens there are; administrators revoke them. The text is nowhere."""

    list_display = ("name", "owner", "created_at", "expires_at", "last_used_at")
    search_fields = ("name", "owner__username")
    exclude = ("digest",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        return super().get_queryset(request).select_related("owner")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return access.may(request.user, Action.ADMINISTER)


if admin.site.is_registered(Group):
    admin.site.unregister(Group)  # roles say what one may do; groups would only confuse
