"""Audit rows for what django-auditlog cannot see: guarded updates, and actions that change no column."""

from typing import Any

from auditlog.models import LogEntry
from django.db import models


def record(
    *, actor: Any, target: models.Model, what: str, changes: dict[str, list[Any]] | None = None
) -> None:
    """Write one audit row: ``actor`` (None = the platform itself) did ``what`` (``app:verb``) to ``target``."""
    LogEntry.objects.log_create(
        target,
        force_log=True,
        action=LogEntry.Action.UPDATE,
        changes=changes or {},
        additional_data={"what": what},
        actor=actor if getattr(actor, "is_authenticated", False) else None,
    )
