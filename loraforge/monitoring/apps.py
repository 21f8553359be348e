from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    name = "loraforge.monitoring"
    label = "monitoring"
