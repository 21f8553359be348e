from django.apps import AppConfig


class TelemetryConfig(AppConfig):
    name = "loraforge.telemetry"
    label = "telemetry"
