from django.urls import path

from loraforge.modelhub.api import views

urlpatterns = [
    path("swift/models/", views.ModelListEndpoint.as_view(), name="swift-model-list"),
    path(
        "swift/models/describe/", views.ModelDescribeEndpoint.as_view(), name="swift-model-describe"
    ),
]
