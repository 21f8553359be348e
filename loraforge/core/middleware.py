"""What holds for every answer: expected errors become answers, no cache keeps an API answer, audit knows who."""

from ipaddress import ip_address
from typing import Any

from auditlog.middleware import AuditlogMiddleware
from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.utils.cache import add_never_cache_headers
from django.utils.deprecation import MiddlewareMixin
from django.utils.functional import SimpleLazyObject

from loraforge.core.errorpages import bad_request, error_answer, is_api, page_not_found
from loraforge.core.errors import LoraForgeError, database_away


class ExpectedErrorMiddleware(MiddlewareMixin):
    """A LoraForgeError of a page becomes a page with its status; DRF answers for the API."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, (OperationalError, InterfaceError)):
            exception = database_away(exception)
        if not isinstance(exception, LoraForgeError):
            return None
        return error_answer(
            request,
            status=exception.status,
            error_id=exception.error_id,
            message=exception.message,
            fields=exception.fields,
        )


class PlainAddressMiddleware(MiddlewareMixin):
    """Nothing lies at an address with a zero byte, and no page is asked about one; PostgreSQL would fail over it.

    In a query the API's own checks find it, and name the field.
    """

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        if "\0" in request.path_info:
            return page_not_found(request, Http404())
        if "%00" in request.META.get("QUERY_STRING", "") and not is_api(request):
            return bad_request(request, SuspiciousOperation())
        return None


class NoStoreMiddleware(MiddlewareMixin):
    """``Cache-Control: no-store`` on every API answer that does not say otherwise."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if is_api(request) and not response.has_header("Cache-Control"):
            add_never_cache_headers(response)
        return response


class CompressMiddleware(GZipMiddleware):
    """gzip for pages and JSON. Streams stay as they are: live events must not wait, files keep their ranges."""

    kinds = ("text/html", "application/json")

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Compressed, unless it streams or is neither a page nor JSON."""
        if response.streaming or not response.get("Content-Type", "").startswith(self.kinds):
            return response
        return super().process_response(request, response)


class AuditMiddleware(AuditlogMiddleware):
    """Who made a change and from where, for its audit row. No header of the caller's is believed."""

    def get_extra_data(self, request: HttpRequest) -> dict[str, Any]:
        """The actor is looked up when a row is written: a bearer is known once the API has read its token.

        The address is that of who connects; uvicorn believes its proxy, and nobody else, about it.
        """
        return {
            "actor": SimpleLazyObject(lambda: self._get_actor(request)),
            "remote_addr": _address(request.META.get("REMOTE_ADDR", "")),
            "remote_port": None,
        }


def _address(text: str) -> str | None:
    """As PostgreSQL takes it, without a zone; None for what is no IP address (a unix socket's caller)."""
    try:
        return str(ip_address(text.partition("%")[0]))
    except ValueError:
        return None
