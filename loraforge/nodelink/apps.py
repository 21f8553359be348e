from django.apps import AppConfig


class NodelinkConfig(AppConfig):
    name = "loraforge.nodelink"
    label = "nodelink"
