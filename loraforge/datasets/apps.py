from django.apps import AppConfig


class DatasetsConfig(AppConfig):
    name = "loraforge.datasets"
    label = "datasets"
