from importlib import import_module

from django.apps import AppConfig


class NodelinkConfig(AppConfig):
    name = "loraforge.nodelink"
    label = "nodelink"

    def ready(self) -> None:
        """Periodic work; the module needs the settings."""
        import_module("loraforge.nodelink.wiring")
