from django.urls import path

from loraforge.accounts.api import views

urlpatterns = [
    path("auth/token/", views.TokenObtain.as_view(), name="token"),
    path("auth/token/refresh/", views.TokenRenew.as_view(), name="token-refresh"),
    path(
        "me/secrets/",
        views.Secrets.as_view({"get": "list"}),
        name="secrets",
    ),
    path(
        "me/secrets/<str:kind>/",
        views.Secrets.as_view({"put": "put", "delete": "destroy"}),
        name="secret-detail",
    ),
    path("tokens/", views.ApiTokens.as_view({"get": "list", "post": "create"}), name="tokens"),
    path("tokens/<int:pk>/", views.ApiTokens.as_view({"delete": "destroy"}), name="token-detail"),
]
