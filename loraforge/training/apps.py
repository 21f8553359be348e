from importlib import import_module

from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _

from loraforge.accounts.ownership import Ownership, register


class TrainingConfig(AppConfig):
    name = "loraforge.training"
    label = "training"
    verbose_name = _("Work")

    def ready(self) -> None:
        """A job is its instance's owner's, and shared with it; datasets in use are kept."""
        ownership = Ownership(
            owner="instance__owner",
            anchor="instance",
            anchor_model=apps.get_model("instances", "Instance"),
            share_permission="download_instance",
        )
        register(self.get_model("Job"), ownership)
        import_module("loraforge.training.wiring")
