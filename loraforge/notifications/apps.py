from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    name = "loraforge.notifications"
    label = "notifications"
