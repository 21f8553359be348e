from importlib import import_module

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MigrationConfig(AppConfig):
    name = "loraforge.migration"
    label = "migration"
    verbose_name = _("Migration")

    def ready(self) -> None:
        """Subscribe to what lower floors tell; the module needs loaded models."""
        import_module("loraforge.migration.wiring")
