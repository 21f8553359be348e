from importlib import import_module

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class GatewayConfig(AppConfig):
    name = "loraforge.gateway"
    label = "gateway"
    verbose_name = _("Platform")

    def ready(self) -> None:
        """Subscribe to what lower floors tell; the module needs loaded models."""
        import_module("loraforge.gateway.wiring")
