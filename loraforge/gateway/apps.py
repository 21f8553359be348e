from importlib import import_module

from django.apps import AppConfig


class GatewayConfig(AppConfig):
    name = "loraforge.gateway"
    label = "gateway"

    def ready(self) -> None:
        """Subscribe to what lower floors tell; the module needs loaded models."""
        import_module("loraforge.gateway.wiring")
