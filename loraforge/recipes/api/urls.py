from typing import Any

from django.urls import path

from loraforge.recipes.api.views import Builtins, Recipes, UnsentForms

DETAIL: dict[str, Any] = {"get": "retrieve", "patch": "partial_update", "delete": "destroy"}
SHARES: dict[str, Any] = {"get": "shares", "post": "shares", "delete": "share_delete"}

urlpatterns = [
    path("drafts/", UnsentForms.as_view(), name="drafts"),
    path("recipes/", Recipes.as_view({"get": "list", "post": "create"}), name="recipes"),
    path("recipes/builtin/", Builtins.as_view(), name="recipes-builtin"),
    path("recipes/<int:pk>/", Recipes.as_view(DETAIL), name="recipe-detail"),
    path(
        "recipes/<int:pk>/versions/",
        Recipes.as_view({"get": "versions", "post": "versions"}),
        name="recipe-versions",
    ),
    path(
        "recipes/<int:pk>/versions/<int:number>/",
        Recipes.as_view({"get": "version"}),
        name="recipe-version",
    ),
    path("recipes/<int:pk>/shares/", Recipes.as_view(SHARES), name="recipe-shares"),
]
