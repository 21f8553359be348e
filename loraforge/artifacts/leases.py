"""While files are handed out nothing deletes them: short leases, renewed by the reading, never freed by hand.

A reader that vanishes leaves a lease that expires by itself.
"""

import logging
import time
from datetime import datetime, timedelta

from django.db import DatabaseError, close_old_connections, transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _

from loraforge.artifacts.models import FileLease, Removal
from loraforge.artifacts.retention import Place
from loraforge.core.errors import Gone
from loraforge.core.outlet import Pour
from loraforge.datasets.streaming import Source, pouring
from loraforge.instances.models import Attempt, Instance

HOLD = timedelta(minutes=10)
RENEW_S = 60.0

_log = logging.getLogger(__name__)


def removed_error(*, instance_id: int, at: datetime) -> Gone:
    """The files were removed."""
    return Gone(
        "artifacts:removed",
        _("The files of #%(number)s were removed on %(date)s. Its log and curves are still here.")
        % {"number": instance_id, "date": f"{at:%Y-%m-%d}"},
    )


@transaction.atomic
def lease_take(
    *, attempt: Attempt, holder: str, place: Place = Place.NODE, hold: timedelta = HOLD
) -> None:
    """From now on the attempt's files stay for ``hold``; taking it again prolongs it.

    holder: who, such as ``download:7`` or ``resume``. Raises Gone once they are being removed.
    """
    # The row that a removal locks too: either this sees the removal, or the removal sees the lease.
    Instance.objects.select_for_update().get(pk=attempt.instance_id)
    removal = Removal.objects.filter(attempt=attempt, place=place).first()
    if removal is not None:
        raise removed_error(instance_id=attempt.instance_id, at=removal.begun_at)
    FileLease.objects.update_or_create(
        instance_id=attempt.instance_id,
        holder=holder,
        defaults={"expires_at": timezone.now() + hold},
    )


def leased_until(*, instance_id: int) -> datetime | None:
    """Until when somebody is handed files of it; None = nobody has been of late."""
    found: datetime | None = FileLease.objects.filter(instance_id=instance_id).aggregate(
        until=Max("expires_at")
    )["until"]
    return found


def leases_expire(*, now: datetime) -> int:
    """Forget those that are over."""
    gone, _by_model = FileLease.objects.filter(expires_at__lt=now).delete()
    return gone


class Leased:
    """A source whose reading keeps its lease alive."""

    def __init__(self, source: Source, *, instance_id: int, holder: str) -> None:
        self._source = source
        self._rows = FileLease.objects.filter(instance_id=instance_id, holder=holder)
        self._renewed_at = time.monotonic()

    def read(self, size: int, /) -> bytes:
        """See `Source.read`."""
        self._keep()
        return self._source.read(size)

    def pouring(self) -> Pour | None:
        """See `datasets.streaming.pouring`."""
        pour = pouring(self._source)
        if pour is None:
            return None

        def kept(target: int, size: int, /) -> int:
            self._keep()
            return pour(target, size)

        return kept

    def seek(self, position: int, /) -> None:
        """For a source that can: go on from there."""
        self._source.seek(position)  # type: ignore[attr-defined]

    def _keep(self) -> None:
        if time.monotonic() - self._renewed_at >= RENEW_S:
            self._renewed_at = time.monotonic()
            self._renew()

    def _renew(self) -> None:
        try:
            self._rows.update(expires_at=timezone.now() + HOLD)
        except DatabaseError as error:
            # the lease still has most of its time, and the bytes do not need the database
            _log.warning("a lease was not renewed: %s", error)
        finally:
            close_old_connections()  # this is no request's thread

    def close(self) -> None:
        """See `Source.close`."""
        self._source.close()
