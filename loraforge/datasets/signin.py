"""Who sends a raw ASGI request: the same ways of signing in as DRF's, asked outside Django's handler."""

import io
from collections.abc import MutableMapping
from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.views import APIView

from loraforge.accounts.models import User


def request_of_scope(scope: MutableMapping[str, Any], method: str) -> ASGIRequest:
    """A request without its body, as if it had come with this method."""
    return ASGIRequest({**scope, "method": method}, io.BytesIO())


def _unused(_request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def user_of_request(request: ASGIRequest) -> User:
    """The user by API token, JWT, or session with CSRF token.

    Raises NotAuthenticated, AuthenticationFailed, PermissionDenied (CSRF). Queries the database.
    """
    SessionMiddleware(_unused).process_request(request)
    AuthenticationMiddleware(_unused).process_request(request)
    user = Request(request, authenticators=APIView().get_authenticators()).user
    if not isinstance(user, User) or not user.is_active:
        raise NotAuthenticated
    return user
