"""Errors that no view answers: JSON below /api/, a page elsewhere."""

import logging
import sys
from collections.abc import Mapping, Sequence

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import TemplateDoesNotExist
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from loraforge.core.api import error_body
from loraforge.core.errors import database_away

log = logging.getLogger(__name__)


def is_api(request: HttpRequest) -> bool:
    """True where programs, not people, read the answer."""
    return request.path_info.startswith("/api/")


def error_answer(
    request: HttpRequest,
    *,
    status: int,
    error_id: str,
    message: str,
    fields: Mapping[str, Sequence[str]] | None = None,
) -> HttpResponse:
    """The one shape of an error: a JSON body, or the template ``error.html``."""
    if is_api(request):
        texts = {name: list(found) for name, found in (fields or {}).items()}
        return JsonResponse(error_body(error_id, message, texts), status=status)
    context = {"status": status, "error_id": error_id, "message": message, "fields": fields or {}}
    try:
        return HttpResponse(render_to_string("error.html", context, request), status=status)
    except Exception as error:
        # An error page must never fail by itself: its template may be what is broken.
        if not isinstance(error, TemplateDoesNotExist):
            log.exception("the error page could not be rendered")
        return HttpResponse(message, status=status, content_type="text/plain; charset=utf-8")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400. What Django found suspicious is logged by Django and not repeated here."""
    text = _("The server could not read this request.")
    return error_answer(request, status=400, error_id="api:unreadable", message=text)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler403."""
    text = _("Your role does not allow this. Ask an operator.")
    return error_answer(request, status=403, error_id="auth:denied", message=text)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404."""
    text = _("There is nothing at this address.")
    return error_answer(request, status=404, error_id="api:not_found", message=text)


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500. Says nothing of the cause; the log holds it. A middleware may be what met an outage."""
    error = sys.exc_info()[1]
    if isinstance(error, (OperationalError, InterfaceError)):
        away = database_away(error)
        return error_answer(
            request, status=away.status, error_id=away.error_id, message=away.message
        )
    text = _("Something went wrong on our side. It is in the log; trying again may help.")
    return error_answer(request, status=500, error_id="api:server_error", message=text)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """CSRF_FAILURE_VIEW."""
    text = _("This form is too old or came from elsewhere. Reload the page and try again.")
    return error_answer(request, status=403, error_id="auth:csrf", message=text)


def locked_out(
    request: HttpRequest, response: HttpResponse | None, credentials: Mapping[str, str] | None
) -> HttpResponse:
    """AXES_LOCKOUT_CALLABLE: too many wrong passwords from here for this name."""
    text = _("Too many failed attempts. Wait ten minutes, then try again.")
    return error_answer(request, status=429, error_id="auth:locked_out", message=text)
