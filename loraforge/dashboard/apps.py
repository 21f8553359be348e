from importlib import import_module

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    name = "loraforge.dashboard"
    label = "dashboard"

    def ready(self) -> None:
        """Give the admin its words; the module needs loaded models."""
        import_module("loraforge.dashboard.wiring")
