from importlib import import_module

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class BillingConfig(AppConfig):
    name = "loraforge.billing"
    label = "billing"
    verbose_name = _("Costs")

    def ready(self) -> None:
        """Say whose these rows are, and what is metered when; the module needs loaded models."""
        import_module("loraforge.billing.wiring")
