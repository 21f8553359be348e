from importlib import import_module

from django.apps import AppConfig


class NodesConfig(AppConfig):
    name = "loraforge.nodes"
    label = "nodes"

    def ready(self) -> None:
        """Describe the node token to the schema; the module needs loaded apps."""
        import_module("loraforge.nodes.schema")
