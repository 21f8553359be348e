"""Addresses of the dataset pages."""

from django.urls import path

from loraforge.datasets import views

app_name = "datasets"

urlpatterns = [
    path("", views.DatasetListPage.as_view(), name="list"),
    path("<int:dataset_id>/", views.DatasetPage.as_view(), name="detail"),
]
