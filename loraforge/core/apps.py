from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "loraforge.core"
    label = "core"
