from django.apps import AppConfig


class InstancesConfig(AppConfig):
    name = "loraforge.instances"
    label = "instances"
