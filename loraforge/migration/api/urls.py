"""Moving jobs, and emptying nodes."""

from django.urls import path

from loraforge.migration.api import views

urlpatterns = [
    path(
        "jobs/<int:id>/migrate/", views.JobMigrate.as_view({"post": "migrate"}), name="job-migrate"
    ),
    path(
        "jobs/<int:id>/migrate/cancel/",
        views.JobMigrate.as_view({"post": "cancel"}),
        name="job-migrate-cancel",
    ),
    path(
        "jobs/<int:id>/migrations/",
        views.JobMigrate.as_view({"get": "migrations"}),
        name="job-migrations",
    ),
    path("nodes/<slug:name>/prefetches/", views.NodePrefetches.as_view(), name="node-prefetches"),
    path("nodes/<slug:name>/drain/", views.NodeDrain.as_view(), name="node-drain"),
]
