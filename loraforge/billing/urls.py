"""Addresses of the pages of usage."""

from django.urls import path

from loraforge.billing import views

app_name = "billing"

urlpatterns = [
    path("", views.UsagePage.as_view(), name="usage"),
    path("all/", views.UsageAllPage.as_view(), name="usage_all"),
]
