from importlib import import_module

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class NodesConfig(AppConfig):
    name = "loraforge.nodes"
    label = "nodes"
    verbose_name = _("Machines")

    def ready(self) -> None:
        """Describe the node token to the schema; the module needs loaded apps."""
        import_module("loraforge.nodes.schema")
