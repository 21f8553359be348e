"""Whose rows are whose. Apart from `access`, so that an AppConfig can import it early."""

from dataclasses import dataclass

from django.db.models import Model


@dataclass(frozen=True)
class Ownership:
    """Whose a model's rows are.

    owner: lookup path to the owner (``owner``, ``instance__owner``). anchor: lookup path to the row
    that is shared ("" = this row itself), anchor_model its model; share_permission: the codename on
    it that a share grants (VIEW and DOWNLOAD together).
    """

    owner: str
    anchor: str = ""
    anchor_model: type[Model] | None = None
    share_permission: str = ""


_ownership: dict[type[Model], Ownership] = {}


def register(model: type[Model], ownership: Ownership) -> None:
    """Say whose the rows of ``model`` are; called by each app's AppConfig.ready()."""
    _ownership[model] = ownership


def ownership_of(model: type[Model]) -> Ownership:
    """What was registered. Raises KeyError for a model that no app has registered."""
    return _ownership[model]
