"""Addresses of Flower."""

from django.urls import path

from loraforge.monitoring import views

app_name = "monitoring"

urlpatterns = [
    path("flower/", views.FlowerPage.as_view(), name="flower"),
    path("flower/<path:path>", views.FlowerPage.as_view(), name="flower_page"),
]
