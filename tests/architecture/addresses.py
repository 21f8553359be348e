"""Every address of the control plane, read from Django's resolver and Channels' router."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from loraforge.routing import websocket_urlpatterns

METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Address:
    """A route with plain placeholders (``api/v1/jobs/<id>/``) and one method."""

    method: str
    route: str

    def __str__(self) -> str:
        return f"{self.method.upper()} /{self.route}"

    @property
    def is_api(self) -> bool:
        return self.route.startswith("api/")


def _plain(route: str) -> str:
    """Django's two ways to write a route, as one: ``<name>`` for every part."""
    named = re.sub(r"\(\?P<(\w+)>[^()]*\)", r"<\1>", route)
    typed = re.sub(r"<\w+:(\w+)>", r"<\1>", named)
    return typed.replace("^", "").replace("$", "").replace("\\", "")


def _methods(view: Any) -> list[str]:
    actions = getattr(view, "actions", None)
    if actions:
        return sorted(actions)
    kind = getattr(view, "cls", None) or getattr(view, "view_class", None)
    if kind is None:
        return ["get"]
    return [method for method in METHODS if hasattr(kind, method)]


def _walk(resolver: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    pattern: URLPattern | URLResolver
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield route, pattern.callback
        else:
            yield from _walk(pattern, route)


def addresses() -> list[Address]:
    """All but the admin's, which has a test of its own."""
    return [
        Address(method=method, route=_plain(route))
        for route, view in _walk(get_resolver())
        if not route.startswith("admin/")
        for method in _methods(view)
    ]


def views() -> list[tuple[str, Any]]:
    """(route, view) of all but the admin's."""
    found = _walk(get_resolver())
    return [(_plain(route), view) for route, view in found if not route.startswith("admin/")]


def socket_routes() -> dict[str, Any]:
    """Route -> consumer class, without the last one that catches everything."""
    return {
        _plain(str(pattern.pattern)): pattern.callback.consumer_class
        for pattern in websocket_urlpatterns
        if hasattr(pattern.callback, "consumer_class")
    }
