"""Shapes of the recipe endpoints."""

from typing import Any

from rest_framework import serializers

from loraforge.accounts.sharing import Holder
from loraforge.core.api import WholeField
from loraforge.recipes.models import Recipe, RecipeVersion, UnsentForm
from loraforge.recipes.services import DESCRIPTION_MAX, NAME_MAX, NOTE_MAX, VERSIONS_MAX
from loraforge.recipes.unsent import SOURCE_MAX, TAB_MAX

_DRAFT = "A draft of a job as POST jobs/ takes it; what belongs to one job alone is left out."


class RecipeRow(serializers.ModelSerializer[Recipe]):
    """A recipe in a list."""

    owner = serializers.CharField(source="owner.username", read_only=True)

    class Meta:
        model = Recipe
        fields = (
            *("id", "name", "description", "owner", "version", "command", "model"),
            *("created_at", "changed_at"),
        )
        read_only_fields = fields


class VersionRow(serializers.ModelSerializer[RecipeVersion]):
    """A version in a list."""

    author = serializers.CharField(source="author.username", default=None, allow_null=True)

    class Meta:
        model = RecipeVersion
        fields = ("number", "note", "author", "catalogue_version", "created_at")
        read_only_fields = fields


class VersionOutput(VersionRow):
    """A version with what it says."""

    draft = serializers.DictField(child=serializers.JSONField(allow_null=True), help_text=_DRAFT)

    class Meta:
        model = RecipeVersion
        fields = (*VersionRow.Meta.fields, "draft")
        read_only_fields = fields


class RecipeOutput(RecipeRow):
    """A recipe with its newest version."""

    draft = serializers.DictField(child=serializers.JSONField(allow_null=True), help_text=_DRAFT)
    catalogue_version = serializers.CharField()
    allowed = serializers.ListField(
        child=serializers.CharField(), help_text="What the asker may do to it."
    )

    class Meta:
        model = Recipe
        fields = (*RecipeRow.Meta.fields, "draft", "catalogue_version", "allowed")
        read_only_fields = fields


def _draft(*, required: bool) -> serializers.DictField:
    child = serializers.JSONField(allow_null=True)
    return serializers.DictField(child=child, required=required, help_text=_DRAFT)


def _text(limit: int, **how: Any) -> serializers.CharField:
    return serializers.CharField(max_length=limit, required=False, allow_blank=True, **how)


class RecipeInput(serializers.Serializer[Any]):
    """A new recipe."""

    name = serializers.CharField(max_length=NAME_MAX)
    description = _text(DESCRIPTION_MAX)
    draft = _draft(required=True)
    note = _text(NOTE_MAX, help_text="What this version is for.")


class RecipePatchInput(serializers.Serializer[Any]):
    """What is left out stays. A draft becomes the next version."""

    name = serializers.CharField(max_length=NAME_MAX, required=False)
    description = _text(DESCRIPTION_MAX)
    draft = _draft(required=False)
    note = _text(NOTE_MAX, help_text="What this version is for.")
    base_version = WholeField(
        required=False,
        min_value=1,
        max_value=VERSIONS_MAX,
        help_text="The version that the draft was made from; 409 when there is a newer one.",
    )


class RestoreInput(serializers.Serializer[Any]):
    """Which version comes back, as the newest."""

    restore = WholeField(min_value=1, max_value=VERSIONS_MAX)


class ShareHolderOutput(serializers.Serializer[Holder]):
    """Whom it is shared with."""

    kind = serializers.ChoiceField(choices=[("user", "user"), ("group", "group")])
    name = serializers.CharField()


class ShareHolderInput(serializers.Serializer[Any]):
    """Either a user or one of one's own groups."""

    user = _text(150, help_text="A user name.")
    group = _text(150, help_text="A group that you are in.")


class SearchQuery(serializers.Serializer[Any]):
    """Every word must be in name, description, model or owner."""

    search = serializers.CharField(
        max_length=200, required=False, allow_blank=True, default="", trim_whitespace=True
    )


class BuiltinOutput(serializers.Serializer[Any]):
    """A built-in recipe, in the language of the request."""

    id = serializers.CharField(help_text="As `?recipe=` of the form of a new job takes it.")
    name = serializers.CharField()
    description = serializers.CharField()
    draft = serializers.DictField(child=serializers.JSONField(allow_null=True), help_text=_DRAFT)


class UnsentQuery(serializers.Serializer[Any]):
    """Which form."""

    source = serializers.CharField(  # type: ignore[assignment]
        max_length=SOURCE_MAX, help_text="What the form was filled from; new = nothing."
    )


class UnsentSeen(UnsentQuery):
    """A form as a page last saw it."""

    version = WholeField(
        min_value=0, max_value=2**31 - 1, help_text="The version that was last seen, 0 = none."
    )
    tab = _text(TAB_MAX, help_text="Tells one page of a browser from another.")


class UnsentInput(UnsentSeen):
    """A form as it stands."""

    draft = _draft(required=True)


class UnsentKept(serializers.Serializer[UnsentForm]):
    """What was kept."""

    source = serializers.CharField()  # type: ignore[assignment]
    version = serializers.IntegerField()
    saved_at = serializers.DateTimeField()


class UnsentOutput(UnsentKept):
    """A form that was not sent yet. version 0: there is none."""

    draft = serializers.DictField(child=serializers.JSONField(allow_null=True), allow_null=True)
    saved_at = serializers.DateTimeField(allow_null=True)
