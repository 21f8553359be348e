from django.apps import AppConfig


class ModelhubConfig(AppConfig):
    name = "loraforge.modelhub"
    label = "modelhub"
