from importlib import import_module

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SchedulingConfig(AppConfig):
    name = "loraforge.scheduling"
    label = "scheduling"
    verbose_name = _("Work")

    def ready(self) -> None:
        """Register the periodic work."""
        import_module("loraforge.scheduling.wiring")
