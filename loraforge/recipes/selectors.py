"""Reads of recipes and their versions, filtered by what the asker may see."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db.models import Q, QuerySet
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.models import User
from loraforge.core.errors import NotFound
from loraforge.core.texts import number_read
from loraforge.recipes.builtin import builtin_get
from loraforge.recipes.models import Recipe, RecipeVersion
from loraforge.swift.catalogue import DEFAULT_VERSION

Asker = User | AnonymousUser

KEY_MAX = 60  # characters of a key


def recipe_missing(_key: object = None) -> NotFound:
    """What is said of one that is not there, or none of the asker's business."""
    return NotFound("recipes:not_found", _("There is no such recipe. It may have been deleted."))


def recipe_list(*, user: Asker, search: str = "") -> QuerySet[Recipe]:
    """What the user may see and is not deleted, last changed first; every word in name, model or owner."""
    rows = access.visible(user, Recipe.objects.filter(deleted_at=None)).select_related("owner")
    for word in search.split():
        rows = rows.filter(
            Q(name__icontains=word)
            | Q(description__icontains=word)
            | Q(model__icontains=word)
            | Q(owner__username__icontains=word)
        )
    return rows


def recipe_get(*, user: Asker, recipe_id: int) -> Recipe:
    """One recipe. Raises NotFound."""
    recipe = recipe_list(user=user).filter(pk=recipe_id).first()
    if recipe is None:
        raise recipe_missing()
    return recipe


def version_list(*, recipe: Recipe) -> QuerySet[RecipeVersion]:
    """All versions of a recipe that the caller already may see, newest first."""
    return recipe.versions.select_related("author")


def version_get(*, recipe: Recipe, number: int | None = None) -> RecipeVersion:
    """One version, the newest without a number. Raises NotFound."""
    wanted = recipe.version if number is None else number
    version = version_list(recipe=recipe).filter(number=wanted).first()
    if version is None:
        text = _("Version %(number)s of this recipe does not exist.")
        raise NotFound("recipes:no_version", text % {"number": wanted})
    return version


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A recipe in one version, to fill a form from or to compare.

    recipe: None for a built-in one, whose number is 0.
    """

    key: str
    name: str
    description: str
    number: int
    draft: Mapping[str, Any]
    catalogue_version: str
    recipe: Recipe | None = None


def chosen_get(*, user: Asker, key: str) -> Chosen:
    """What a key names: ``12`` (its newest version), ``12:3``, or the id of a built-in one. Raises NotFound."""
    first, colon, last = key[:KEY_MAX].partition(":")
    recipe_id = number_read(first)
    if recipe_id is None:
        return _builtin(key)
    number = number_read(last) if colon else None
    if colon and number is None:
        raise recipe_missing()
    recipe = recipe_get(user=user, recipe_id=recipe_id)
    version = version_get(recipe=recipe, number=number)
    return Chosen(
        key=f"{recipe.pk}:{version.number}",
        name=recipe.name,
        description=recipe.description,
        number=version.number,
        draft=version.draft,
        catalogue_version=version.catalogue_version,
        recipe=recipe,
    )


def _builtin(key: str) -> Chosen:
    found = builtin_get(key)
    if found is None:
        raise recipe_missing()
    language = get_language()
    return Chosen(
        key=found.id,
        name=found.name.told(language),
        description=found.description.told(language),
        number=0,
        draft=found.draft,
        catalogue_version=DEFAULT_VERSION,
    )
