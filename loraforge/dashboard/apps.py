from django.apps import AppConfig


class DashboardConfig(AppConfig):
    name = "loraforge.dashboard"
    label = "dashboard"
