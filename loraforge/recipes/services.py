"""Writes of recipes. Each save of settings is a version of its own, and no version is ever changed."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from loraforge.accounts import access, sharing
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core import audit
from loraforge.core.errors import Conflict, Invalid
from loraforge.recipes.contents import content_made
from loraforge.recipes.models import Recipe, RecipeVersion
from loraforge.recipes.selectors import recipe_missing, version_get
from loraforge.recipes.wiring import SHARE_PERMISSION
from loraforge.swift.catalogue import DEFAULT_VERSION

NAME_MAX = 120
DESCRIPTION_MAX = 2000
NOTE_MAX = 200
VERSIONS_MAX = 1000


@transaction.atomic
def recipe_create(
    *,
    actor: User,
    name: str,
    draft: Mapping[str, object],
    description: str = "",
    note: str = "",
) -> Recipe:
    """A recipe of the actor's with its first version. Raises Denied, Invalid."""
    access.require(actor, Action.CREATE)
    content = content_made(draft)
    recipe = Recipe.objects.create(
        owner=actor,
        name=_name_read(name),
        description=_text_read("description", description, DESCRIPTION_MAX),
        **_columns(content),
    )
    _version_add(recipe, content, actor=actor, note=note)
    return recipe


@transaction.atomic
def recipe_update(
    *,
    actor: User,
    recipe: Recipe,
    name: str | None = None,
    description: str | None = None,
    draft: Mapping[str, object] | None = None,
    note: str = "",
    base_version: int | None = None,
) -> Recipe:
    """Rename or describe it; new settings are its next version. None leaves a thing as it is.

    base_version: what the new settings were made from; Conflict (`recipes:changed`) when there is a newer one.
    """
    access.require(actor, Action.CHANGE, recipe)
    content = content_made(draft) if draft is not None else None
    locked = _locked(recipe)
    if name is not None:
        locked.name = _name_read(name)
    if description is not None:
        locked.description = _text_read("description", description, DESCRIPTION_MAX)
    if content is not None:
        if base_version is not None and base_version != locked.version:
            text = _("Somebody has saved version %(number)s meanwhile. Look at it first.")
            raise Conflict("recipes:changed", text % {"number": locked.version})
        _next(locked, content, actor=actor, note=note, catalogue_version=DEFAULT_VERSION)
    locked.changed_at = timezone.now()
    locked.save()
    return locked


@transaction.atomic
def recipe_restore(*, actor: User, recipe: Recipe, number: int) -> Recipe:
    """An older version once more, as the newest. Raises NotFound, Conflict where it is the newest already."""
    access.require(actor, Action.CHANGE, recipe)
    locked = _locked(recipe)
    if number == locked.version:
        raise Conflict("recipes:is_newest", _("This is the newest version already."))
    old = version_get(recipe=locked, number=number)
    note = _("Version %(number)s restored") % {"number": number}
    _next(locked, old.draft, actor=actor, note=note, catalogue_version=old.catalogue_version)
    locked.changed_at = timezone.now()
    locked.save()
    return locked


@transaction.atomic
def recipe_delete(*, actor: User, recipe: Recipe) -> None:
    """Out of all lists; the row stays for the audit log. Jobs that were made from it are their own."""
    access.require(actor, Action.CHANGE, recipe)
    locked = _locked(recipe)
    locked.deleted_at = timezone.now()
    locked.save(update_fields=["deleted_at"])


def recipe_share(*, actor: User, recipe: Recipe, user: str = "", group: str = "") -> sharing.Holder:
    """Let a person, or a group of the actor's, see it and make jobs from it. Only the owner may."""
    if bool(user) == bool(group):
        text = _("Name either a user or a group.")
        raise Invalid("recipes:share_with", text, fields={"user": [text]})
    if user:
        sharing.share_grant(actor=actor, row=recipe, codename=SHARE_PERMISSION, username=user)
        return sharing.Holder(kind="user", name=user)
    sharing.group_share_grant(actor=actor, row=recipe, codename=SHARE_PERMISSION, name=group)
    return sharing.Holder(kind="group", name=group)


def recipe_unshare(*, actor: User, recipe: Recipe, user: str = "", group: str = "") -> None:
    """Take that back. Raises NotFound when it is not shared with them."""
    access.require(actor, Action.SHARE, recipe)
    if bool(user) == bool(group):
        text = _("Name either a user or a group.")
        raise Invalid("recipes:share_with", text, fields={"user": [text]})
    if user:
        sharing.share_revoke(actor=actor, row=recipe, codename=SHARE_PERMISSION, username=user)
        return
    sharing.group_share_revoke(actor=actor, row=recipe, codename=SHARE_PERMISSION, name=group)


def _locked(recipe: Recipe) -> Recipe:
    rows = Recipe.objects.select_for_update(of=("self",)).select_related("owner")
    found = rows.filter(pk=recipe.pk, deleted_at=None).first()
    if found is None:
        raise recipe_missing()
    return found


def _columns(content: Mapping[str, Any]) -> dict[str, str]:
    """What lists show of the newest version."""
    return {"command": content["command"], "model": content["model"]}


def _next(
    recipe: Recipe,
    content: Mapping[str, Any],
    *,
    actor: User,
    note: str,
    catalogue_version: str,
) -> None:
    if recipe.version >= VERSIONS_MAX:
        text = _("A recipe has at most %(limit)s versions. Save it as a new recipe.")
        raise Conflict("recipes:too_many_versions", text % {"limit": VERSIONS_MAX})
    recipe.version += 1
    for name, value in _columns(content).items():
        setattr(recipe, name, value)
    _version_add(recipe, content, actor=actor, note=note, catalogue_version=catalogue_version)


def _version_add(
    recipe: Recipe,
    content: Mapping[str, Any],
    *,
    actor: User,
    note: str,
    catalogue_version: str = DEFAULT_VERSION,
) -> None:
    RecipeVersion.objects.create(
        recipe=recipe,
        number=recipe.version,
        draft=dict(content),
        catalogue_version=catalogue_version,
        note=_text_read("note", note, NOTE_MAX),
        author=actor,
    )
    changes = {"version": [recipe.version - 1 or None, recipe.version]}
    audit.record(actor=actor, target=recipe, what="recipes:version", changes=changes)


def _name_read(name: str) -> str:
    name = name.strip()
    if not name or len(name) > NAME_MAX or not name.isprintable():
        text = _("A name is one line of 1 to %(limit)s characters.") % {"limit": NAME_MAX}
        raise Invalid("recipes:bad_name", text, fields={"name": [text]})
    return name


def _text_read(field: str, text: str, limit: int) -> str:
    text = text.strip()
    if len(text) > limit or "\0" in text:
        said = _("At most %(limit)s characters of text.") % {"limit": limit}
        raise Invalid("recipes:bad_text", said, fields={field: [said]})
    return text
