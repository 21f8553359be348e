from importlib import import_module

from django.apps import AppConfig


class TelemetryConfig(AppConfig):
    name = "loraforge.telemetry"
    label = "telemetry"

    def ready(self) -> None:
        """Say what is periodic and what happens at a job's end; the module needs loaded models."""
        import_module("loraforge.telemetry.wiring")
