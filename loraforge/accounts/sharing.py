"""Sharing a row with a person or a group: a django-guardian object permission, and an audit row.

Who may share is asked of `access` (Action.SHARE); what a share permits stands there too.
"""

from dataclasses import dataclass
from typing import Any, Literal

from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import Model, QuerySet
from django.utils.translation import gettext as _
from guardian.models import GroupObjectPermission, UserObjectPermission

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core import audit
from loraforge.core.errors import Conflict, Invalid, NotFound


def _rights(row: Model, codename: str) -> dict[str, Any]:
    return {
        "object_pk": str(row.pk),
        "permission__codename": codename,
        "permission__content_type__app_label": row._meta.app_label,
        "permission__content_type__model": row._meta.model_name,
    }


def share_list(*, user: User, row: Model, codename: str) -> QuerySet[User]:
    """The people a row is shared with. Raises NotFound or Denied unless the user may share it."""
    access.require(user, Action.SHARE, row)
    rows = UserObjectPermission.objects.filter(**_rights(row, codename))
    return User.objects.filter(pk__in=rows.values("user")).order_by("username")


# as an API's choices
HOLDER_KINDS = [("user", "user"), ("group", "group")]


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Whom a row is shared with."""

    kind: Literal["user", "group"]
    name: str


def holder_list(*, user: User, row: Model, codename: str) -> list[Holder]:
    """The people and groups a row is shared with, people first. Raises NotFound or Denied as `share_list`."""
    people = share_list(user=user, row=row, codename=codename).values_list("username", flat=True)
    shares = GroupObjectPermission.objects.filter(**_rights(row, codename))
    groups = Group.objects.filter(pk__in=shares.values("group")).order_by("name")
    return [
        *(Holder(kind="user", name=name) for name in people),
        *(Holder(kind="group", name=name) for name in groups.values_list("name", flat=True)),
    ]


def _permission(row: Model, codename: str) -> Permission:
    return Permission.objects.get(
        codename=codename,
        content_type__app_label=row._meta.app_label,
        content_type__model=row._meta.model_name,
    )


@transaction.atomic
def share_grant(*, actor: User, row: Model, codename: str, username: str) -> User:
    """Let a person see and download a row. Doing it twice changes nothing.

    Raises Invalid (`accounts:unknown_user`) and Conflict (`accounts:share_with_owner`).
    """
    access.require(actor, Action.SHARE, row)
    person = User.objects.filter(username=username, is_active=True).first()
    if person is None:
        text = _("There is no active user of this name. Check the spelling.")
        raise Invalid("accounts:unknown_user", text, fields={"user": [text]})
    if person.pk == actor.pk:
        raise Conflict("accounts:share_with_owner", _("This is yours already."))
    permission = _permission(row, codename)
    _share, created = UserObjectPermission.objects.get_or_create(
        user=person,
        permission=permission,
        object_pk=str(row.pk),
        defaults={"content_type": permission.content_type},
    )
    if created:
        changes = {"shared with": [None, person.username]}
        audit.record(actor=actor, target=row, what="accounts:share", changes=changes)
    return person


@transaction.atomic
def share_revoke(*, actor: User, row: Model, codename: str, username: str) -> None:
    """Take a share back. Raises NotFound when there is none."""
    access.require(actor, Action.SHARE, row)
    shares = UserObjectPermission.objects.filter(user__username=username, **_rights(row, codename))
    count, _by_model = shares.delete()
    if not count:
        raise NotFound("accounts:no_share", _("It is not shared with this user."))
    changes = {"shared with": [username, None]}
    audit.record(actor=actor, target=row, what="accounts:unshare", changes=changes)


@transaction.atomic
def group_share_grant(*, actor: User, row: Model, codename: str, name: str) -> Group:
    """Let everybody of a group that the actor is in see and download a row. Doing it twice changes nothing.

    Raises Invalid (`accounts:unknown_group`): which other groups there are is nobody's business.
    """
    access.require(actor, Action.SHARE, row)
    group = actor.groups.filter(name=name).first()
    if group is None:
        text = _("You are in no group of this name. Check the spelling, or ask an operator.")
        raise Invalid("accounts:unknown_group", text, fields={"group": [text]})
    permission = _permission(row, codename)
    _share, created = GroupObjectPermission.objects.get_or_create(
        group=group,
        permission=permission,
        object_pk=str(row.pk),
        defaults={"content_type": permission.content_type},
    )
    if created:
        changes = {"shared with group": [None, group.name]}
        audit.record(actor=actor, target=row, what="accounts:share", changes=changes)
    return group


@transaction.atomic
def group_share_revoke(*, actor: User, row: Model, codename: str, name: str) -> None:
    """Take it back from a group. Raises NotFound when it has none."""
    access.require(actor, Action.SHARE, row)
    shares = GroupObjectPermission.objects.filter(group__name=name, **_rights(row, codename))
    count, _by_model = shares.delete()
    if not count:
        raise NotFound("accounts:no_share", _("It is not shared with this group."))
    changes = {"shared with group": [name, None]}
    audit.record(actor=actor, target=row, what="accounts:unshare", changes=changes)
