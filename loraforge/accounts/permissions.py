"""DRF's first question. Apart from `entrypoints`, because DRF reads it while it loads its own views."""

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

if TYPE_CHECKING:
    from rest_framework.views import APIView


class SignedIn(BasePermission):
    """The default of the whole API: known and active. Rows are filtered further down."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return request.user.is_authenticated and request.user.is_active


class Public(BasePermission):
    """For the few endpoints that strangers must reach, such as signing in."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return True
