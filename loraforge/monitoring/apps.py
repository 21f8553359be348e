from typing import Any

from django.apps import AppConfig, apps
from django.db.models import Model
from django.utils.translation import gettext_lazy as _


class MonitoringConfig(AppConfig):
    name = "loraforge.monitoring"
    label = "monitoring"

    def ready(self) -> None:
        """Libraries' pages stand in the admin under the names of our own groups."""
        apps.get_app_config("axes").verbose_name = _("People")
        apps.get_app_config("auditlog").verbose_name = _("Audit")
        _name(apps.get_model("axes", "AccessAttempt"), _("failed sign-in"), _("failed sign-ins"))
        _name(apps.get_model("auditlog", "LogEntry"), _("audit entry"), _("audit entries"))


def _name(model: type[Model], one: Any, many: Any) -> None:
    """Beside its migrations, which remember the library's own name."""
    model._meta.verbose_name = one
    model._meta.verbose_name_plural = many
