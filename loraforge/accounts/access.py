"""THE rule: who may see and do what. Selectors filter by `visible`, entry points and services refuse by `require`.

What a role may do stands in one table; whose a row is, each model says by an `Ownership` given at
registration, since this floor knows no app above it. Shares are django-guardian object permissions.
A row that the asker may not see does not exist for them: 404, never 403.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.db.models import Model, Q, QuerySet
from django.utils.translation import gettext as _
from guardian.models import GroupObjectPermission, UserObjectPermission

from loraforge.accounts.models import Role, User
from loraforge.core.errors import Denied, NotFound

M = TypeVar("M", bound=Model)
Asker = User | AnonymousUser


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

# To everybody's rows. Operators see and manage, but weights and data stay the owner's (requirements: privacy).
_ALL_ROWS: dict[Role, frozenset[Action]] = {
    Role.VIEWER: frozenset(),
    Role.RESEARCHER: frozenset(),
    Role.OPERATOR: frozenset({Action.VIEW, Action.CHANGE}),
    Role.ADMIN: frozenset({Action.VIEW, Action.CHANGE}),
}

_OWN_ROWS = frozenset({Action.VIEW, Action.DOWNLOAD, Action.CHANGE, Action.SHARE})
_OWN_ROWS_OF_VIEWER = frozenset({Action.VIEW, Action.DOWNLOAD})


@dataclass(frozen=True)
class Ownership:
    """Whose a model's rows are.

    owner: lookup path to the owner (``owner``, ``instance__owner``). anchor: lookup path to the row that
    is shared ("" = this row itself), anchor_model its model; share_permission: the codename on it that
    a share grants (VIEW and DOWNLOAD together).
    """

    owner: str
    anchor: str = ""
    anchor_model: type[Model] | None = None
    share_permission: str = ""


_ownership: dict[type[Model], Ownership] = {}


def register(model: type[Model], ownership: Ownership) -> None:
    """Say whose the rows of ``model`` are; called by each app's AppConfig.ready()."""
    _ownership[model] = ownership


def _role(user: Asker) -> Role | None:
    if not user.is_authenticated or not user.is_active:
        return None
    return Role.ADMIN if user.is_superuser else Role(user.role)


def may(user: Asker, action: Action) -> bool:
    """True when the user's role may do this to the platform (CREATE, OPERATE, AUDIT, ADMINISTER)."""
    role = _role(user)
    return role is not None and action in _PLATFORM[role]


def sees_all(user: Asker) -> bool:
    """True when everybody's rows are visible to this user."""
    role = _role(user)
    return role is not None and Action.VIEW in _ALL_ROWS[role]


def _shared_pks(user: User, ownership: Ownership, model: type[Model]) -> list[str]:
    anchor = ownership.anchor_model or model
    rights = {
        "permission__codename": ownership.share_permission,
        "permission__content_type__app_label": anchor._meta.app_label,
        "permission__content_type__model": anchor._meta.model_name,
    }
    own = UserObjectPermission.objects.filter(user=user, **rights).values_list("object_pk", flat=True)
    group = GroupObjectPermission.objects.filter(group__user=user, **rights).values_list("object_pk", flat=True)
    return [*own, *group]


def visible(user: Asker, queryset: QuerySet[M]) -> QuerySet[M]:
    """The rows that the user may see: all for operators, else own ones and those shared with them."""
    role = _role(user)
    if role is None:
        return queryset.none()
    if Action.VIEW in _ALL_ROWS[role]:
        return queryset
    ownership = _ownership[queryset.model]
    condition = Q(**{ownership.owner: user})
    if ownership.share_permission:
        shared = _shared_pks(user, ownership, queryset.model)  # type: ignore[arg-type]
        condition |= Q(**{f"{ownership.anchor or 'pk'}__in": shared})
    return queryset.filter(condition)


def _follow(row: Model, path: str) -> Any:
    value: Any = row
    for part in path.split("__"):
        value = getattr(value, part)
    return value


def _allowed_on(user: User, role: Role, action: Action, row: Model) -> bool:
    if action in _ALL_ROWS[role]:
        return True
    ownership = _ownership[type(row)]
    if _follow(row, ownership.owner) == user:
        return action in (_OWN_ROWS_OF_VIEWER if role == Role.VIEWER else _OWN_ROWS)
    if action not in {Action.VIEW, Action.DOWNLOAD} or not ownership.share_permission:
        return False
    anchor = _follow(row, ownership.anchor) if ownership.anchor else row
    key = anchor.pk if isinstance(anchor, Model) else anchor
    return str(key) in _shared_pks(user, ownership, type(row))


def allowed(user: Asker, action: Action, row: Model) -> bool:
    """True when the user may do ``action`` (VIEW, DOWNLOAD, CHANGE, SHARE) to this row."""
    role = _role(user)
    return role is not None and _allowed_on(user, role, action, row)  # type: ignore[arg-type]


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
