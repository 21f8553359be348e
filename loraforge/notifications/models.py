from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from loraforge.instances.models import Instance


class Notification(models.Model):
    """Something that a user is told about an own instance: it runs, it ended."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notifications"
    )
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, null=True, related_name="+")
    what = models.CharField(max_length=30)  # running, succeeded, failed, stopped, lost, retried
    values = models.JSONField(default=dict)  # for the text: name, reason
    read_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("-id",)
        indexes = [models.Index(fields=("user", "-id"), name="notifications_user_newest")]

    def __str__(self) -> str:
        return self.what
