"""Whose the rows of this app are; imported once by AppConfig.ready()."""

from loraforge.accounts import access
from loraforge.recipes.models import Recipe, UnsentForm

SHARE_PERMISSION = "use_recipe"

access.register(Recipe, access.Ownership(owner="owner", share_permission=SHARE_PERMISSION))
access.register(UnsentForm, access.Ownership(owner="owner"))
