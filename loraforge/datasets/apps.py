from importlib import import_module

from django.apps import AppConfig


class DatasetsConfig(AppConfig):
    name = "loraforge.datasets"
    label = "datasets"

    def ready(self) -> None:
        """Say whose these rows are; the module needs loaded models."""
        import_module("loraforge.datasets.wiring")
