"""What every REST endpoint shares: errors and pages."""

import re
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework import exceptions, serializers, status
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_handler

from loraforge.core.errors import LoraForgeError, database_away

_WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)


def error_body(
    error_id: str, message: str, fields: Mapping[str, list[str]] | None = None
) -> dict[str, Any]:
    """The one shape of an error."""
    return {"error": {"id": error_id, "message": message, "fields": dict(fields or {})}}


def _flatten(detail: Any, prefix: str = "") -> dict[str, list[str]]:
    """DRF's nested validation detail as dotted field names -> texts."""
    if isinstance(detail, Mapping):
        found: dict[str, list[str]] = {}
        for key, value in detail.items():
            found.update(_flatten(value, f"{prefix}.{key}" if prefix else str(key)))
        return found
    if isinstance(detail, list) and any(isinstance(item, (Mapping, list)) for item in detail):
        found = {}
        for index, item in enumerate(detail):
            found.update(_flatten(item, f"{prefix}.{index}" if prefix else str(index)))
        return found
    items = detail if isinstance(detail, list) else [detail]
    return {prefix or "non_field_errors": [str(item) for item in items]} if items else {}


_IDS: dict[type[Exception], str] = {
    exceptions.NotAuthenticated: "auth:required",
    exceptions.AuthenticationFailed: "auth:failed",
    exceptions.PermissionDenied: "auth:denied",
    PermissionDenied: "auth:denied",
    exceptions.NotFound: "api:not_found",
    Http404: "api:not_found",
    exceptions.MethodNotAllowed: "api:method_not_allowed",
    exceptions.Throttled: "api:too_many_requests",
    exceptions.UnsupportedMediaType: "api:unsupported_media_type",
    exceptions.ParseError: "api:unreadable",
    exceptions.NotAcceptable: "api:not_acceptable",
}


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Any expected error as ``{"error": ...}``; an unexpected one stays a 500 without details."""
    if isinstance(exc, (OperationalError, InterfaceError)):
        exc = database_away(exc)
    if isinstance(exc, LoraForgeError):
        return Response(error_body(exc.error_id, exc.message, exc.fields), status=exc.status)
    response = drf_handler(exc, context)
    if response is None:
        return None
    if isinstance(exc, exceptions.ValidationError):
        body = error_body("api:invalid", _("Some fields are not valid."), _flatten(exc.detail))
    else:
        error_id = next((name for kind, name in _IDS.items() if isinstance(exc, kind)), "api:error")
        detail = response.data.get("detail") if isinstance(response.data, Mapping) else None
        body = error_body(error_id, str(detail or exc))
    response.data = body
    if isinstance(exc, exceptions.AuthenticationFailed) and "WWW-Authenticate" in response:
        response.status_code = status.HTTP_401_UNAUTHORIZED
    return response


class WholeField(serializers.IntegerField):
    """A whole number. As text only ASCII digits: Python's own reading takes ``1_000`` and ``١٢`` as well."""

    def to_internal_value(self, data: Any) -> int:
        """Raises ValidationError."""
        if isinstance(data, str) and not _WHOLE.fullmatch(data.strip(" ")):
            self.fail("invalid")
        return int(super().to_internal_value(data))


class BoundedListField(serializers.ListField):
    """A list whose length is looked at before its items are: a million wrong ones cost minutes, and their
    million errors fifty megabytes.
    """

    def to_internal_value(self, data: Any) -> list[Any]:
        """Raises ValidationError for too many items, whatever they are."""
        if isinstance(data, list) and self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        found: list[Any] = super().to_internal_value(data)
        return found


class Pagination(PageNumberPagination):
    """``?page=`` and ``?page_size=`` (at most 200)."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    def get_page_number(self, request: Request, paginator: Any) -> Any:
        """The page as its text; NotFound for what is no number, as for a page that is not there."""
        asked = request.query_params.get(self.page_query_param) or "1"
        if asked not in self.last_page_strings and not _WHOLE.fullmatch(asked):
            raise exceptions.NotFound(self.invalid_page_message)
        return super().get_page_number(request, paginator)

    def get_page_size(self, request: Request) -> int | None:
        """Raises ValidationError for what is no number."""
        asked = request.query_params.get(self.page_size_query_param) or "1"
        if not _WHOLE.fullmatch(asked):
            raise exceptions.ValidationError(
                {"page_size": [WholeField.default_error_messages["invalid"]]}
            )
        return super().get_page_size(request)
