"""Everything below /api/v1/; each app brings its own list."""

from django.urls import include, path

app_name = "api"

urlpatterns: list = []
