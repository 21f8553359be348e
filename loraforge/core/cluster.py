"""Which installation this is."""

import uuid

from loraforge.core.models import Setting


def cluster_id() -> str:
    """An id made at the first call and kept for ever; node agents refuse to serve another cluster from one folder."""
    setting, _created = Setting.objects.get_or_create(
        name="cluster_id", defaults={"value": uuid.uuid4().hex}
    )
    return setting.value
