"""Pages of libraries that operators need, and none of those that show secrets or nothing."""

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from axes.utils import reset
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_otp.plugins.otp_totp.models import TOTPDevice
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from loraforge.accounts import admin_columns as columns
from loraforge.accounts.admin_base import ReadOnlyModelAdmin, person
from loraforge.core import audit

# Texts of refresh tokens, keys of second factors, and a log that is off.
for _model in (
    BlacklistedToken,
    OutstandingToken,
    TOTPDevice,
    AccessLog,
    AccessFailureLog,
    AccessAttempt,
):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)


@admin.register(AccessAttempt)
class AccessAttemptAdmin(ReadOnlyModelAdmin):
    """Wrong passwords that count towards a lock: who is locked out, and from where."""

    list_display = ("name", "address", "failures", "last", "page")
    list_filter = (("attempt_time", columns.filter_titled(gettext_lazy("time"))),)
    search_fields = ("username", "=ip_address")
    date_hierarchy = "attempt_time"
    actions = ("unlock",)
    shown = ((None, ("name", "address", "failures", "last", "page", "browser")),)

    name = columns.plain("username", gettext_lazy("user name"))
    address = columns.plain("ip_address", gettext_lazy("from address"))
    last = columns.when("attempt_time", gettext_lazy("time"))
    page = columns.plain("path_info", gettext_lazy("page"))
    browser = columns.plain("user_agent", gettext_lazy("browser"))
    failures = columns.plain("failures_since_start", gettext_lazy("wrong passwords"))

    @admin.action(description=gettext_lazy("Unlock"), permissions=["administer"])
    def unlock(self, request: HttpRequest, queryset: QuerySet[AccessAttempt]) -> None:
        def one(attempt: AccessAttempt) -> None:
            audit.record(actor=person(request), target=attempt, what="accounts:unlock")
            reset(ip=attempt.ip_address, username=attempt.username)

        self.run_each(request, queryset, one, done=_("Unlocked."))
