from typing import Any

from django.urls import path

from loraforge.training.api.comparing import JobCompare, JobRecipe
from loraforge.training.api.log_download import JobLogDownload
from loraforge.training.api.swift_views import (
    SwiftCatalogue,
    SwiftEnvironment,
    SwiftParse,
    SwiftPreview,
)
from loraforge.training.api.views import Jobs

DETAIL: dict[str, Any] = {
    "get": "retrieve",
    "put": "update",
    "patch": "partial_update",
    "delete": "destroy",
}
PRESSED = ("start", "withdraw", "stop", "cancel", "checkpoint", "retry", "resume", "clone")

urlpatterns = [
    path("swift/catalogue/", SwiftCatalogue.as_view(), name="swift-catalogue"),
    path("swift/environment/", SwiftEnvironment.as_view(), name="swift-environment"),
    path("swift/parse/", SwiftParse.as_view(), name="swift-parse"),
    path("swift/preview/", SwiftPreview.as_view(), name="swift-preview"),
    path("jobs/", Jobs.as_view({"get": "list", "post": "create"}), name="jobs"),
    path("jobs/compare/", JobCompare.as_view(), name="job-compare"),
    path("jobs/<int:id>/", Jobs.as_view(DETAIL), name="job-detail"),
    path("jobs/<int:id>/attempts/", Jobs.as_view({"get": "attempts"}), name="job-attempts"),
    path(
        "jobs/<int:id>/checkpoints/",
        Jobs.as_view({"get": "checkpoints"}),
        name="job-checkpoints",
    ),
    path("jobs/<int:id>/events/", Jobs.as_view({"get": "events"}), name="job-events"),
    path("jobs/<int:pk>/recipe/", JobRecipe.as_view(), name="job-recipe"),
    path("jobs/<int:pk>/log/download/", JobLogDownload.as_view(), name="job-log-download"),
    path(
        "jobs/<int:id>/shares/",
        Jobs.as_view({"get": "shares", "post": "shares"}),
        name="job-shares",
    ),
    path(
        "jobs/<int:id>/shares/<str:username>/",
        Jobs.as_view({"delete": "share_delete"}),
        name="job-share-detail",
    ),
    *(
        path(f"jobs/<int:id>/{word}/", Jobs.as_view({"post": word}), name=f"job-{word}")
        for word in PRESSED
    ),
]
