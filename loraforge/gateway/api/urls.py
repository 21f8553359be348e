from django.urls import path

from loraforge.gateway.api import views

urlpatterns = [
    path(
        "agent/inputs/secrets/<str:signed>/",
        views.AgentSecretEndpoint.as_view(),
        name="agent-secret",
    )
]
