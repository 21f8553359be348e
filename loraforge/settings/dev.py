"""For working on LoRAForge itself."""

from loraforge.settings.base import *  # noqa: F403
from loraforge.settings.base import STORAGES

DEBUG = True
STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
