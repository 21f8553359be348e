"""What people were told; only the platform writes it."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from loraforge.accounts import admin_columns as columns
from loraforge.accounts.admin_base import ReadOnlyModelAdmin
from loraforge.notifications.models import Notification


@admin.register(Notification)
class NotificationAdmin(ReadOnlyModelAdmin):
    """Notices, newest first."""

    list_display = ("number", "person_shown", "about", "said", "when", "read")
    list_filter = (
        ("what", columns.filter_titled(_("notice"))),
        ("user", columns.filter_titled(_("person"))),
        ("read_at", columns.filter_titled(_("read"), admin.EmptyFieldListFilter)),
    )
    search_fields = ("user__username", "=instance__id")
    list_select_related = ("user", "instance")
    date_hierarchy = "created_at"
    shown = ((None, ("number", "person_shown", "about", "said", "content", "when", "read")),)

    number = columns.number("pk", _("number"))
    person_shown = columns.linked("user", _("person"))
    about = columns.linked("instance", _("instance"))
    said = columns.plain("what", _("notice"))
    content = columns.data("values", _("content"))
    when = columns.when("created_at", _("time"))
    read = columns.when("read_at", _("read"))
