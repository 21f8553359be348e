from django.urls import path
from rest_framework.routers import SimpleRouter

from loraforge.datasets.api import views
from loraforge.datasets.api.shares import DatasetShares

router = SimpleRouter()
router.register("datasets", views.DatasetViewset, basename="dataset")
router.register("uploads", views.UploadViewset, basename="upload")

urlpatterns = [
    path("agent/inputs/<str:signed>/", views.AgentInputEndpoint.as_view(), name="agent-input"),
    path("datasets/<int:pk>/shares/", DatasetShares.as_view(), name="dataset-shares"),
    *router.urls,
]
