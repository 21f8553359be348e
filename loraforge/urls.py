"""All addresses: pages, API, admin, health."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularSwaggerView

from loraforge.core import health
from loraforge.core.schema import SchemaView

urlpatterns: list[URLPattern | URLResolver] = [
    # First what is asked for most: each that does not match costs.
    path("api/v1/", include("loraforge.api_urls")),
    path("", include("loraforge.dashboard.urls")),
    path("", include("loraforge.accounts.urls")),
    path("usage/", include("loraforge.billing.urls")),
    path("datasets/", include("loraforge.datasets.urls")),
    path("", include("loraforge.monitoring.urls")),  # before the admin: its sign-in is ours
    path("admin/", admin.site.urls),
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    path("i18n/", include("django.conf.urls.i18n")),
]

handler400 = "loraforge.core.errorpages.bad_request"
handler403 = "loraforge.core.errorpages.permission_denied"
handler404 = "loraforge.core.errorpages.page_not_found"
handler500 = "loraforge.core.errorpages.server_error"
