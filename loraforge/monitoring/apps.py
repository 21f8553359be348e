from typing import Any

from django.apps import AppConfig, apps
from django.db.models import Model
from django.utils.translation import gettext_lazy as _

# Rows of ours that only this site shows.
OURS = (
    ("telemetry.StreamPosition", _("file position"), _("file positions")),
    ("telemetry.LogChunk", _("piece of a log"), _("pieces of logs")),
    ("telemetry.MetricRow", _("metric row"), _("metric rows")),
    ("telemetry.TrainerEvent", _("event of a trainer"), _("events of trainers")),
    ("telemetry.Sample", _("reading of a node"), _("readings of nodes")),
    ("notifications.Notification", _("notice"), _("notices")),
    ("artifacts.BestCheckpoint", _("best checkpoint"), _("best checkpoints")),
    ("training.IdempotencyKey", _("idempotency key"), _("idempotency keys")),
    ("core.Setting", _("fact of this installation"), _("facts of this installation")),
)


class MonitoringConfig(AppConfig):
    name = "loraforge.monitoring"
    label = "monitoring"

    def ready(self) -> None:
        """Libraries' pages stand in the admin under the names of our own groups."""
        apps.get_app_config("axes").verbose_name = _("People")
        apps.get_app_config("auditlog").verbose_name = _("Audit")
        _name(apps.get_model("axes", "AccessAttempt"), _("failed sign-in"), _("failed sign-ins"))
        _name(apps.get_model("auditlog", "LogEntry"), _("audit entry"), _("audit entries"))
        for label, one, many in OURS:
            _name(apps.get_model(label), one, many)


def _name(model: type[Model], one: Any, many: Any) -> None:
    """Beside its migrations, which remember the library's own name."""
    model._meta.verbose_name = one
    model._meta.verbose_name_plural = many
