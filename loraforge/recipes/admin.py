"""Recipes and forms that were not sent yet; what people made is only looked at here."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from loraforge.accounts import admin_columns as columns
from loraforge.accounts.admin_base import ReadOnlyInline, ReadOnlyModelAdmin
from loraforge.recipes.models import Recipe, RecipeVersion, UnsentForm


class RecipeVersionInline(ReadOnlyInline):
    model = RecipeVersion
    fields = ("place", "note_shown", "author_shown", "created", "says")
    show_change_link = False

    place = columns.plain("number", _("version"))
    note_shown = columns.plain("note", _("note"))
    author_shown = columns.linked("author", _("saved by"))
    created = columns.when("created_at", _("saved"))
    says = columns.data("draft", _("settings"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[RecipeVersion]:
        rows: QuerySet[RecipeVersion] = super().get_queryset(request)
        return rows.select_related("author")


@admin.register(Recipe)
class RecipeAdmin(ReadOnlyModelAdmin):
    """What recipes there are, deleted ones too."""

    list_display = (
        *("name", "owner_shown", "command_shown", "model_short", "version_shown", "changed"),
    )
    list_filter = (
        "command",
        ("owner", columns.filter_titled(_("owner"))),
        ("deleted_at", columns.filter_titled(_("deleted"), admin.EmptyFieldListFilter)),
    )
    search_fields = ("name", "description", "model", "owner__username")
    list_select_related = ("owner",)
    date_hierarchy = "changed_at"
    inlines = (RecipeVersionInline,)
    shown = (
        (None, ("name", "owner_shown", "described", "command_shown", "model_shown", "audited")),
        (_("Times"), ("version_shown", "created", "changed", "deleted")),
    )

    owner_shown = columns.linked("owner", _("owner"))
    described = columns.plain("description", _("description"))
    command_shown = columns.plain("command", _("job type"))
    model_shown = columns.plain("model", _("base model"))
    model_short = columns.last_part("model", _("base model"))
    version_shown = columns.plain("version", _("version"))
    created = columns.when("created_at", _("created"))
    changed = columns.when("changed_at", _("changed"))
    deleted = columns.when("deleted_at", _("deleted"))
    audited = columns.audited()

    def view_on_site(self, recipe: Recipe) -> str | None:
        """Its page for people; a deleted one has none."""
        return None if recipe.deleted_at else reverse("dashboard:recipe", args=(recipe.pk,))


@admin.register(UnsentForm)
class UnsentFormAdmin(ReadOnlyModelAdmin):
    """Whose forms wait for their owners; what stands in them is theirs and not shown."""

    list_display = ("filled_from", "owner_shown", "version_shown", "saved")
    list_filter = (("owner", columns.filter_titled(_("owner"))),)
    search_fields = ("owner__username", "source")
    list_select_related = ("owner",)
    shown = ((None, ("filled_from", "owner_shown", "version_shown", "saved")),)

    filled_from = columns.plain("source", _("filled from"))
    owner_shown = columns.linked("owner", _("owner"))
    version_shown = columns.plain("version", _("version"))
    saved = columns.when("saved_at", _("saved"))
