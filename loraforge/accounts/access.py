"""THE rule: who may see and do what.

Selectors filter by `visible`, entry points and services refuse by `require`. What a role may do
stands in one table; whose a row is, each model says by an `Ownership` given at registration, since
this floor knows no app above it. Shares are django-guardian object permissions. A row that the
asker may not see does not exist for them: 404, never 403.
"""

from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, cast

from django.contrib.auth.models import AnonymousUser, Permission
from django.db.models import BigIntegerField, Model, Q, QuerySet, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast
from django.utils.translation import gettext as _
from guardian.models import GroupObjectPermission, UserObjectPermission

from loraforge.accounts.models import Role, User
from loraforge.accounts.ownership import Ownership, ownership_of, register
from loraforge.core.errors import Denied, NotFound

__all__ = ["Action", "Ownership", "allowed", "capabilities", "may", "register", "require"]
__all__ += ["sees_all", "standing", "visible"]

M = TypeVar("M", bound=Model)
Asker = User | AnonymousUser

NOBODY = -1  # the key of no user


class Action(StrEnum):
    """What can be done to a row, or (the second group) to the platform."""

    VIEW = "view"  # see it: state, log, metrics, list of files
    DOWNLOAD = "download"  # fetch weights, checkpoints, dataset rows; train on a dataset
    CHANGE = "change"  # rename, start, stop, delete, resume
    SHARE = "share"  # let others see and download

    CREATE = "create"  # jobs, datasets, recipes of one's own
    OPERATE = "operate"  # nodes, priorities, everybody's jobs
    AUDIT = "audit"  # read the audit log
    ADMINISTER = "administer"  # users, roles


_PLATFORM: dict[Role, frozenset[Action]] = {
    Role.VIEWER: frozenset(),
    Role.RESEARCHER: frozenset({Action.CREATE}),
    Role.OPERATOR: frozenset({Action.CREATE, Action.OPERATE, Action.AUDIT}),
    Role.ADMIN: frozenset({Action.CREATE, Action.OPERATE, Action.AUDIT, Action.ADMINISTER}),
}

# To everybody's rows. Operators see and manage, but weights and data stay the owner's: only they, and
# whom they share with, download.
_ALL_ROWS: dict[Role, frozenset[Action]] = {
    Role.VIEWER: frozenset(),
    Role.RESEARCHER: frozenset(),
    Role.OPERATOR: frozenset({Action.VIEW, Action.CHANGE}),
    Role.ADMIN: frozenset({Action.VIEW, Action.CHANGE}),
}

_OWN_ROWS = frozenset({Action.VIEW, Action.DOWNLOAD, Action.CHANGE, Action.SHARE})
_OWN_ROWS_OF_VIEWER = frozenset({Action.VIEW, Action.DOWNLOAD})
_SHARED_ROWS = frozenset({Action.VIEW, Action.DOWNLOAD})


def _role(user: Asker) -> Role | None:
    if not user.is_authenticated or not user.is_active:
        return None
    return Role.ADMIN if user.is_superuser else Role(user.role)


def may(user: Asker, action: Action) -> bool:
    """True when the role may do this to the platform (CREATE, OPERATE, AUDIT, ADMINISTER)."""
    role = _role(user)
    return role is not None and action in _PLATFORM[role]


def capabilities(user: Asker) -> list[Action]:
    """What the user's role may do to the platform, in a fixed order."""
    role = _role(user)
    return sorted(_PLATFORM[role]) if role is not None else []


def sees_all(user: Asker) -> bool:
    """True when everybody's rows are visible to this user."""
    role = _role(user)
    return role is not None and Action.VIEW in _ALL_ROWS[role]


def _shared_pks(user: Asker | int, ownership: Ownership, model: type[Model]) -> list[QuerySet[Any]]:
    """Subqueries for the keys of what was shared with the user: directly, and through a group.

    guardian keeps keys as text, so they are cast: PostgreSQL compares no text with a number. The right is
    looked up apart and nothing is joined: PostgreSQL takes longer to plan joins than to run all of it.
    """
    anchor = ownership.anchor_model or model
    right = Permission.objects.filter(
        codename=ownership.share_permission,
        content_type__app_label=anchor._meta.app_label,
        content_type__model=anchor._meta.model_name,
    ).order_by()
    right_key = Subquery(right.values("pk")[:1])
    memberships = User.groups.through.objects.filter(user=cast("User | int", user))
    key = Cast("object_pk", output_field=BigIntegerField())
    found: list[QuerySet[Any]] = [
        UserObjectPermission.objects.filter(user=user, permission=right_key),
        GroupObjectPermission.objects.filter(
            group__in=memberships.values("group_id"), permission=right_key
        ),
    ]
    return [rows.annotate(shared_pk=key).values("shared_pk") for rows in found]


@cache
def _shared_sql(model: type[Model]) -> list[tuple[str, tuple[Any, ...]]]:
    """The subqueries of `_shared_pks` as SQL with parameters; NOBODY stands for the user's key.

    Written once per process: building them took a quarter of a request for a list.
    """
    found = []
    for rows in _shared_pks(NOBODY, ownership_of(model), model):
        sql, params = rows.query.sql_with_params()
        found.append((str(sql), tuple(params)))
    return found


def _shared_keys(user: User, model: type[Model]) -> list[RawSQL]:
    return [
        RawSQL(sql, tuple(user.pk if value == NOBODY else value for value in params))  # noqa: S611 - SQL that Django wrote
        for sql, params in _shared_sql(model)
    ]


def standing(user: Asker) -> tuple[int | None, Role | None]:
    """All of an asker that `visible` depends on: whose is the same sees the same rows."""
    return (user.pk, _role(user))


def visible(user: Asker, queryset: QuerySet[M], *, action: Action = Action.VIEW) -> QuerySet[M]:
    """The rows that the user may see: all for operators, else own ones and those shared with them.

    action: VIEW, or DOWNLOAD for those that they may fetch and train on, which is less for operators. One condition
    and no query of its own. Raises KeyError for a model that no app has registered.
    """
    ownership = ownership_of(queryset.model)
    role = _role(user)
    if role is None:
        return queryset.none()
    if action in _ALL_ROWS[role]:
        return queryset
    condition = Q(**{ownership.owner: user})
    if ownership.share_permission:
        anchor = ownership.anchor or "pk"
        for keys in _shared_keys(cast("User", user), queryset.model):
            condition |= Q(**{f"{anchor}__in": keys})
    return queryset.filter(condition)


def _key(row: Model, path: str) -> Any:
    """The key at the end of a lookup path, without loading the row behind the last step."""
    if not path:
        return row.pk
    *steps, last = path.split("__")
    value: Any = row
    for step in steps:
        value = getattr(value, step)
    field = value._meta.get_field(last)
    return getattr(value, field.attname)


def _is_shared(user: Asker, row: Model, ownership: Ownership) -> bool:
    if not ownership.share_permission:
        return False
    key = _key(row, ownership.anchor)
    return any(
        keys.filter(object_pk=str(key)).exists() for keys in _shared_pks(user, ownership, type(row))
    )


def _allowed_on(user: Asker, role: Role, action: Action, row: Model) -> bool:
    ownership = ownership_of(type(row))
    if action in _ALL_ROWS[role]:
        return True
    if _key(row, ownership.owner) == user.pk:
        return action in (_OWN_ROWS_OF_VIEWER if role == Role.VIEWER else _OWN_ROWS)
    return action in _SHARED_ROWS and _is_shared(user, row, ownership)


def allowed(user: Asker, action: Action, row: Model) -> bool:
    """True when the user may do ``action`` (VIEW, DOWNLOAD, CHANGE, SHARE) to this row."""
    role = _role(user)
    return role is not None and _allowed_on(user, role, action, row)


def require(user: Asker, action: Action, row: Model | None = None) -> None:
    """Raise unless allowed: NotFound when the row is invisible to the user, Denied otherwise."""
    if row is None:
        if not may(user, action):
            raise Denied("auth:denied", _("Your role does not allow this. Ask an operator."))
        return
    if allowed(user, action, row):
        return
    if not allowed(user, Action.VIEW, row):
        raise NotFound("api:not_found", _("Not found."))
    raise Denied("auth:denied", _("Only the owner may do this."))
