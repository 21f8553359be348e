"""Which page a browser's websocket comes from: only one of our own may open it.

A cookie goes to every port of a host, and SameSite looks at no port either. So the whole origin counts, as in
Django's CSRF check: a notebook on another port of this machine is another site.
"""

import io
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.utils.http import is_same_domain


def origin_of(scope: Mapping[str, Any]) -> str | None:
    """The Origin header, which every browser sends with a websocket and no script of a page can change."""
    for name, value in scope["headers"]:
        if name == b"origin":
            return str(value.decode("latin-1")).lower()
    return None


def is_own_origin(scope: Mapping[str, Any], origin: str) -> bool:
    """True for the host and port that the request itself went to, and for CSRF_TRUSTED_ORIGINS."""
    try:
        host = ASGIRequest({**scope, "method": "GET"}, io.BytesIO()).get_host().lower()
        page = urlsplit(origin)
    except (DisallowedHost, ValueError):
        return False
    if page.scheme not in {"http", "https"} or not page.netloc:
        return False
    return page.netloc == host or any(_fits(page, one) for one in settings.CSRF_TRUSTED_ORIGINS)


def _fits(page: Any, trusted: str) -> bool:
    known = urlsplit(trusted.lower())
    return page.scheme == known.scheme and is_same_domain(page.netloc, known.netloc.lstrip("*"))
