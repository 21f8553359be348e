"""Sharing datasets: all versions of one go together."""

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Q, QuerySet
from guardian.models import GroupObjectPermission, UserObjectPermission

from loraforge.accounts import access, sharing
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.accounts.sharing import Holder
from loraforge.core import audit
from loraforge.core.errors import NotFound
from loraforge.datasets.models import Dataset

SHARE_PERMISSION = "use_dataset"


def _versions(dataset: Dataset) -> QuerySet[Dataset]:
    """All of them, deleted ones too: a version that is being checked takes its shares over from one of them.

    In a transaction; whoever adds a version meanwhile is waited for (`verdicts`).
    """
    first = dataset.first_id or dataset.pk
    Dataset.objects.select_for_update().get(pk=first)
    return Dataset.objects.filter(Q(pk=first) | Q(first=first))


def share_require(*, user: User, dataset: Dataset) -> None:
    """Raise NotFound or Denied unless the user may share it."""
    access.require(user, Action.SHARE, dataset)


def dataset_holders(*, user: User, dataset: Dataset) -> list[Holder]:
    """Whom it is shared with. Raises NotFound, Denied."""
    return sharing.holder_list(user=user, row=dataset, codename=SHARE_PERMISSION)


@transaction.atomic
def dataset_share(*, actor: User, dataset: Dataset, holder: Holder) -> None:
    """Let a person, or a group of the actor's, see its rows and train on it. Raises Invalid, Conflict."""
    for row in _versions(dataset):
        if holder.kind == "user":
            sharing.share_grant(
                actor=actor, row=row, codename=SHARE_PERMISSION, username=holder.name
            )
        else:
            sharing.group_share_grant(
                actor=actor, row=row, codename=SHARE_PERMISSION, name=holder.name
            )


@transaction.atomic
def dataset_unshare(*, actor: User, dataset: Dataset, holder: Holder) -> None:
    """Take that back. Raises NotFound when it is not shared with them."""
    for row in _versions(dataset):
        try:
            if holder.kind == "user":
                sharing.share_revoke(
                    actor=actor, row=row, codename=SHARE_PERMISSION, username=holder.name
                )
            else:
                sharing.group_share_revoke(
                    actor=actor, row=row, codename=SHARE_PERMISSION, name=holder.name
                )
        except NotFound:
            if row.pk == dataset.pk:
                raise


def shares_copy(*, source: Dataset, target: Dataset) -> None:
    """A new version is shared with those who have the one before."""
    rights = {
        "object_pk": str(source.pk),
        "permission__codename": SHARE_PERMISSION,
        "permission__content_type__app_label": "datasets",
    }
    names = UserObjectPermission.objects.filter(**rights).values("user__username")
    for person in User.objects.filter(username__in=names, is_active=True):
        UserObjectPermission.objects.assign_perm(SHARE_PERMISSION, person, obj=target)
        _audited(target, "shared with", person.username)
    groups = GroupObjectPermission.objects.filter(**rights).values("group")
    for group in Group.objects.filter(pk__in=groups):
        GroupObjectPermission.objects.assign_perm(SHARE_PERMISSION, group, obj=target)
        _audited(target, "shared with group", group.name)


def _audited(target: Dataset, how: str, holder: str) -> None:
    """In the words of `accounts.sharing`."""
    changes = {how: [None, holder]}
    audit.record(actor=target.owner, target=target, what="accounts:share", changes=changes)
