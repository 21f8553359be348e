"""Everything below /api/v1/; each app brings its own list."""

from django.urls import URLPattern, URLResolver, include, path

app_name = "api"

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("loraforge.training.api.urls")),  # first what is asked for most
    path("", include("loraforge.accounts.api.urls")),
    path("", include("loraforge.nodelink.api.urls")),
    path("", include("loraforge.datasets.api.urls")),
    path("", include("loraforge.modelhub.api.urls")),
    path("", include("loraforge.recipes.api.urls")),
    path("", include("loraforge.instances.api.urls")),
    path("", include("loraforge.artifacts.api.urls")),
    path("", include("loraforge.billing.api.urls")),
    path("", include("loraforge.scheduling.api.urls")),
    path("", include("loraforge.migration.api.urls")),
    path("", include("loraforge.gateway.api.urls")),
    path("", include("loraforge.telemetry.api.urls")),
    path("", include("loraforge.notifications.api.urls")),
    path("", include("loraforge.audit.api.urls")),
]
