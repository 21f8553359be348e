from importlib import import_module

from django.apps import AppConfig


class SchedulingConfig(AppConfig):
    name = "loraforge.scheduling"
    label = "scheduling"

    def ready(self) -> None:
        """Register the periodic work."""
        import_module("loraforge.scheduling.wiring")
