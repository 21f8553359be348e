from importlib import import_module

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class RecipesConfig(AppConfig):
    name = "loraforge.recipes"
    label = "recipes"
    verbose_name = _("Recipes")

    def ready(self) -> None:
        """Say whose these rows are; the module needs loaded models."""
        import_module("loraforge.recipes.wiring")
