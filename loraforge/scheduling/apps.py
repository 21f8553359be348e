from django.apps import AppConfig


class SchedulingConfig(AppConfig):
    name = "loraforge.scheduling"
    label = "scheduling"
