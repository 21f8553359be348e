from django.urls import path

from loraforge.audit.api.views import AuditEntries

urlpatterns = [path("audit/", AuditEntries.as_view({"get": "list"}), name="audit")]
