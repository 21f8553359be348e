from importlib import import_module

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class InstancesConfig(AppConfig):
    name = "loraforge.instances"
    label = "instances"
    verbose_name = _("Work")

    def ready(self) -> None:
        """Say whose these rows are; the module needs loaded models."""
        import_module("loraforge.instances.wiring")
