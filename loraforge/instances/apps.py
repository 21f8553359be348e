from importlib import import_module

from django.apps import AppConfig


class InstancesConfig(AppConfig):
    name = "loraforge.instances"
    label = "instances"

    def ready(self) -> None:
        """Say whose these rows are; the module needs loaded models."""
        import_module("loraforge.instances.wiring")
