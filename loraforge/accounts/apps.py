from django.apps import AppConfig
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from loraforge.accounts.ownership import Ownership, register


class AccountsConfig(AppConfig):
    name = "loraforge.accounts"
    label = "accounts"
    verbose_name = _("People")

    def ready(self) -> None:
        """Say whose these rows are, and let the schema know the tokens."""
        register(self.get_model("ApiToken"), Ownership(owner="owner"))
        # An extension counts once its class exists, and DRF cannot be imported before the models.
        import_string("loraforge.accounts.schema.ApiTokenScheme")
