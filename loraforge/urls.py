"""All addresses: pages, API, admin, health."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/", include("loraforge.api_urls")),
]
