from rest_framework import serializers

from loraforge.notifications.models import Notification
from loraforge.notifications.selectors import notification_url
from loraforge.notifications.texts import body_of, title_of


class NotificationSerializer(serializers.ModelSerializer[Notification]):
    """Title and body are in the reader's language."""

    title = serializers.SerializerMethodField()
    body = serializers.SerializerMethodField()
    url = serializers.SerializerMethodField()
    at = serializers.DateTimeField(source="created_at")

    class Meta:
        model = Notification
        fields = ("id", "what", "title", "body", "url", "at", "read_at")
        read_only_fields = fields

    def get_title(self, row: Notification) -> str:
        return title_of(row.what)

    def get_body(self, row: Notification) -> str:
        return body_of(row.what, row.values)

    def get_url(self, row: Notification) -> str:
        return notification_url(row)


class ReadAllSerializer(serializers.Serializer[dict[str, int]]):
    """How many were unread before."""

    read = serializers.IntegerField()
