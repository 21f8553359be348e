from django.apps import AppConfig


class NodesConfig(AppConfig):
    name = "loraforge.nodes"
    label = "nodes"
