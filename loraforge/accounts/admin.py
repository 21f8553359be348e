"""Users and API tokens. Administrators manage people; operators look."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelectWidget

from loraforge.accounts import admin_columns as columns
from loraforge.accounts import services
from loraforge.accounts.admin_base import AdministeredModelAdmin, ReadOnlyModelAdmin, person
from loraforge.accounts.models import ApiToken, Role, Secret, User

ROLE_LOOKS = {Role.ADMIN: "danger", Role.OPERATOR: "warning", Role.RESEARCHER: "info"}


class PasswordForm(AdminPasswordChangeForm):
    """Goes through the service, so that tokens end with the old password."""

    def save(self, commit: bool = True) -> User:  # noqa: FBT001, FBT002 - Django's signature
        user: User = self.user
        # whoever pressed is in the audit row by its middleware
        services.password_set(actor=None, user=user, password=self.cleaned_data["password1"])
        return user


class UserForm(UserChangeForm):
    """Nobody takes their own rights away by mistake: there would be nobody left to give them back."""

    actor: User
    language = forms.ChoiceField(
        label=gettext_lazy("language"),
        choices=[("", gettext_lazy("As the browser asks")), *settings.LANGUAGES],
        required=False,
        widget=UnfoldAdminSelectWidget,
    )

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        own = self.instance.pk == self.actor.pk
        role, active = given.get("role"), given.get("is_active")
        if own and (role != self.initial.get("role") or not active):
            raise forms.ValidationError(_("Ask another administrator to change your own role."))
        return given


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ReadOnlyModelAdmin):  # type: ignore[misc, type-arg]
    """Administrators add and change people; operators look."""

    form = UserForm
    add_form = UserCreationForm
    change_password_form = PasswordForm
    list_display = (
        *("username", "full_name", "role_shown", "is_active", "last_login", "date_joined"),
        *("jobs", "datasets"),
    )
    list_filter = (
        *("role", "is_active", "last_login"),
        ("groups", columns.filter_titled(gettext_lazy("group"))),
    )
    search_fields = ("username", "first_name", "last_name", "email")
    date_hierarchy = "date_joined"
    ordering = ("username",)
    actions = ("disable", "enable")
    readonly_fields = (
        *("last_login", "date_joined", "jobs", "datasets", "tokens", "done", "audited"),
    )
    fieldsets = (
        (None, {"fields": ("username", "password", "role", "is_active")}),
        (
            gettext_lazy("Person"),
            {"fields": ("first_name", "last_name", "email", "language", "groups")},
        ),
        (gettext_lazy("Dates and links"), {"fields": readonly_fields}),
    )
    add_fieldsets: Any = (
        (None, {"classes": ("wide",), "fields": ("username", "role", "password1", "password2")}),
    )

    full_name = columns.called("get_full_name", gettext_lazy("name"))
    role_shown = columns.chip("role", gettext_lazy("role"), ROLE_LOOKS)
    jobs = columns.elsewhere("training", "job", "instance__owner__id__exact", gettext_lazy("jobs"))
    datasets = columns.elsewhere(
        "datasets", "dataset", "owner__id__exact", gettext_lazy("datasets")
    )
    tokens = columns.elsewhere(
        "accounts", "apitoken", "owner__id__exact", gettext_lazy("API tokens")
    )
    done = columns.elsewhere(
        "auditlog", "logentry", "actor__id__exact", gettext_lazy("what this person did")
    )
    audited = columns.audited()

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_administer_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_administer_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """A person owns jobs and stands in the audit log: disable instead."""
        return False

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return DjangoUserAdmin.get_fieldsets(self, request, obj)

    def get_form(
        self,
        request: HttpRequest,
        obj: Any = None,
        change: bool = False,  # noqa: FBT001, FBT002 - Django's signature
        **kwargs: Any,
    ) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        form.actor = request.user
        return form

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

    @admin.action(description=gettext_lazy("Disable"), permissions=["administer"])
    def disable(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self.run_each(
            request,
            queryset,
            lambda user: services.user_update(actor=person(request), user=user, is_active=False),
            done=_("Disabled: sessions and tokens no longer work."),
        )

    @admin.action(description=gettext_lazy("Enable"), permissions=["administer"])
    def enable(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self.run_each(
            request,
            queryset,
            lambda user: services.user_update(actor=person(request), user=user, is_active=True),
            done=_("Enabled."),
        )


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyModelAdmin):
    """Whose tokens there are; administrators revoke them. The text is nowhere."""

    list_display = ("name", "owner_shown", "created", "expires", "used")
    list_filter = (
        ("owner", columns.filter_titled(gettext_lazy("owner"))),
        (
            "last_used_at",
            columns.filter_titled(gettext_lazy("last used"), admin.EmptyFieldListFilter),
        ),
    )
    search_fields = ("name", "owner__username")
    list_select_related = ("owner",)
    date_hierarchy = "created_at"
    actions = ("revoke",)
    shown = ((None, ("name", "owner_shown", "created", "expires", "used", "audited")),)

    owner_shown = columns.linked("owner", gettext_lazy("owner"))
    created = columns.when("created_at", gettext_lazy("created"))
    expires = columns.when("expires_at", gettext_lazy("expires"))
    used = columns.when("last_used_at", gettext_lazy("last used"))
    audited = columns.audited()

    @admin.action(description=gettext_lazy("Revoke"), permissions=["administer"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        self.run_each(
            request,
            queryset,
            lambda token: services.token_revoke(actor=person(request), token=token),
            done=_("Revoked."),
        )


@admin.register(Secret)
class SecretAdmin(ReadOnlyModelAdmin):
    """Who has stored which secrets. What they are, nobody sees."""

    list_display = ("kind", "owner_shown", "created", "changed")
    list_filter = ("kind", ("owner", columns.filter_titled(gettext_lazy("owner"))))
    search_fields = ("owner__username",)
    list_select_related = ("owner",)
    shown = ((None, ("kind", "owner_shown", "created", "changed", "audited")),)

    owner_shown = columns.linked("owner", gettext_lazy("owner"))
    created = columns.when("created_at", gettext_lazy("created"))
    changed = columns.when("changed_at", gettext_lazy("changed"))
    audited = columns.audited()


if admin.site.is_registered(Group):
    admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(AdministeredModelAdmin):
    """Who belongs together: for shared budgets and statements. What one may do, roles say; never a group."""

    list_display = ("name", "members")
    search_fields = ("name",)
    fields = ("name", "members", "audited")
    readonly_fields = ("members", "audited")

    members = columns.elsewhere("accounts", "user", "groups__id__exact", gettext_lazy("members"))
    audited = columns.audited()

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Its statements stay."""
        return False
