from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "loraforge.audit"
    label = "audit"
