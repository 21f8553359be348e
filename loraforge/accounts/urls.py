"""Addresses of the account pages."""

from django.urls import path

from loraforge.accounts import views

app_name = "accounts"

urlpatterns = [
    path("login/", views.SignInPage.as_view(), name="login"),
    path("logout/", views.SignOutPage.as_view(), name="logout"),
    path("language/", views.LanguagePage.as_view(), name="language"),
    path("account/", views.AccountPage.as_view(), name="account"),
]
