"""Whose the rows of this app are, and its periodic work; imported once by AppConfig.ready()."""

from loraforge.accounts import access
from loraforge.core import beat
from loraforge.datasets.models import Dataset, Upload
from loraforge.datasets.shares import SHARE_PERMISSION

access.register(Dataset, access.Ownership(owner="owner", share_permission=SHARE_PERMISSION))
access.register(Upload, access.Ownership(owner="owner"))

beat.every(60, "datasets.uploads_sweep")
