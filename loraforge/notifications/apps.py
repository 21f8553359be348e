from importlib import import_module

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    name = "loraforge.notifications"
    label = "notifications"

    def ready(self) -> None:
        """Say whose these rows are and what is told; the module needs loaded models."""
        import_module("loraforge.notifications.wiring")
