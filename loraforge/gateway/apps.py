from django.apps import AppConfig


class GatewayConfig(AppConfig):
    name = "loraforge.gateway"
    label = "gateway"
