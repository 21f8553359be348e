from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from loraforge.nodes.models import Node


class JournalPosition(models.Model):
    """The last journal report of a node that is stored; its number is acknowledged to the node."""

    node = models.OneToOneField(
        Node, on_delete=models.CASCADE, primary_key=True, related_name="journal_position"
    )
    seq = models.PositiveBigIntegerField(default=0)

    class Meta:
        verbose_name = _("journal position")
        verbose_name_plural = _("journal positions")

    def __str__(self) -> str:
        return f"{self.node_id}: {self.seq}"


class DeadLetter(models.Model):
    """A report that could not be stored, three times or because it is malformed. Kept for the operator."""

    node = models.CharField(max_length=40)
    entry_id = models.CharField(max_length=40)
    raw = models.BinaryField()
    error = models.TextField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.node} {self.entry_id}"
