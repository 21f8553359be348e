"""Addresses of Flower, and those of the admin that our own pages answer."""

from django.urls import path
from django.views.generic import RedirectView

from loraforge.accounts.views import SignOutPage
from loraforge.monitoring import views

app_name = "monitoring"

urlpatterns = [
    path("admin/login/", views.AdminSignIn.as_view()),
    path("admin/logout/", SignOutPage.as_view()),
    path("admin/password_change/", RedirectView.as_view(pattern_name="accounts:account")),
    path("flower/", views.FlowerPage.as_view(), name="flower"),
    path("flower/<path:path>", views.FlowerPage.as_view(), name="flower_page"),
]
