from django.urls import path

from loraforge.artifacts.api import views

urlpatterns = [
    path(
        "agent/inputs/files/<str:signed>/",
        views.AgentInputFileEndpoint.as_view(),
        name="agent-input-file",
    ),
    path(
        "jobs/<int:instance_id>/artifacts/",
        views.ArtifactListEndpoint.as_view(),
        name="artifact-list",
    ),
    path(
        "jobs/<int:instance_id>/artifacts.zip",
        views.ArtifactZipEndpoint.as_view(),
        name="artifact-zip",
    ),
    path(
        "jobs/<int:instance_id>/artifacts/<path:path>",
        views.ArtifactEndpoint.as_view(),
        name="artifact",
    ),
]
