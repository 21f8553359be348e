from django.apps import AppConfig


class EmbeddedConfig(AppConfig):
    name = "loraforge.embedded"
    label = "embedded"
