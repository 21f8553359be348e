"""How many bytes of datasets a person may keep: by role, deleted ones and remote ones aside."""

from django.conf import settings
from django.db.models import Sum
from django.utils import timezone

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.datasets.models import Dataset, Upload


def used_bytes(*, user: User) -> int:
    """What the user's datasets take, and what their unfinished uploads have announced."""
    kept = Dataset.objects.filter(owner=user, deleted_at=None)
    begun = Upload.objects.filter(
        owner=user, dataset=None, recheck_of=None, expires_at__gt=timezone.now()
    )
    found = (rows.aggregate(sum=Sum("size_bytes"))["sum"] or 0 for rows in (kept, begun))
    return sum(found)


def limit_bytes(*, user: User) -> int | None:
    """None = as much as fits."""
    if access.may(user, Action.OPERATE):
        return None
    limit: int = settings.DATASET_QUOTA_BYTES
    return limit or None
