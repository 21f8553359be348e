from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class OutboxMessage(models.Model):
    """Something to tell Redis after the commit that caused it. The relay sends and deletes it.

    kind "task": target is a Celery task name, queue its queue, payload its keyword arguments.
    kind "frame": target is a live topic, payload the frame.
    """

    class Kind(models.TextChoices):
        TASK = "task"
        FRAME = "frame"

    kind = models.CharField(max_length=8, choices=Kind.choices)
    target = models.CharField(max_length=200)
    queue = models.CharField(max_length=100, blank=True)
    payload = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("outbox message")
        verbose_name_plural = _("outbox messages")
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.kind} {self.target}"


class Setting(models.Model):
    """Small facts about this installation that must survive, such as the cluster id."""

    name = models.CharField(max_length=60, primary_key=True)
    value = models.TextField()

    def __str__(self) -> str:
        return self.name
