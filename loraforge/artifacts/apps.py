from django.apps import AppConfig


class ArtifactsConfig(AppConfig):
    name = "loraforge.artifacts"
    label = "artifacts"
