from importlib import import_module

from django.apps import AppConfig


class ArtifactsConfig(AppConfig):
    name = "loraforge.artifacts"
    label = "artifacts"

    def ready(self) -> None:
        """Say whose these rows are; the module needs loaded models."""
        import_module("loraforge.artifacts.wiring")
