"""Bases of every entry point: page, viewset, consumer and admin. The rule of access is asked here, once."""

from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest
from django.views.generic import TemplateView
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from loraforge.accounts import access
from loraforge.accounts.access import Action


class SignedIn(BasePermission):
    """The default of the whole API: known, active, and (for writing) allowed to create by role."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Rows are filtered by `access.visible` and refused by `access.require` further down."""
        return bool(request.user and request.user.is_authenticated and request.user.is_active)


class Page(LoginRequiredMixin, TemplateView):
    """A page for people who are signed in. `needs` is the platform action that their role must have."""

    needs: Action | None = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Refuse before any handler runs."""
        if request.user.is_authenticated and self.needs is not None:
            access.require(request.user, self.needs)
        return super().dispatch(request, *args, **kwargs)


def page_context(request: HttpRequest) -> dict[str, Any]:
    """For every template: what the menu may show."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {"may_create": False, "may_operate": False}
    return {
        "may_create": access.may(user, Action.CREATE),
        "may_operate": access.may(user, Action.OPERATE),
    }
