from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "loraforge.training"
    label = "training"
