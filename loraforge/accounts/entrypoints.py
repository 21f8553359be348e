"""Bases of every entry point. The rule of access is asked here, once, before any handler runs."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.contrib.auth.mixins import LoginRequiredMixin
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.views.generic import TemplateView
from rest_framework.request import Request
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.accounts.permissions import Public, SignedIn

__all__ = ["Endpoint", "Page", "Public", "SignedIn", "Viewset", "page_context", "signed_in"]

ROW_ACTIONS = frozenset({Action.VIEW, Action.DOWNLOAD, Action.CHANGE, Action.SHARE})
UNAUTHENTICATED = 401
METHODS = ("get", "post", "put", "patch", "delete")
STANDARD = ("list", "create", "retrieve", "update", "partial_update", "destroy")


def signed_in(request: Request) -> User:
    """The user of a request that `SignedIn` let through."""
    user = request.user
    if not isinstance(user, User):
        message = "asked for the user of a request that was not signed in"
        raise TypeError(message)
    return user


class Endpoint(APIView):
    """One address of the API. `needs` names, for every method it has, what the role must allow.

    None = everybody who is signed in. A method without an entry cannot be defined.
    """

    needs: ClassVar[Mapping[str, Action | None]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _complete(cls, {name for name in METHODS if hasattr(cls, name)})

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        _ask_platform(request, self.needs.get((request.method or "").lower()))


class Viewset(GenericViewSet[Any]):
    """Rows of the API, filtered by `access.visible`. `needs` names the right for every handler.

    A right to the platform (CREATE, OPERATE ...) is asked before the handler runs, a right to a row
    (VIEW, CHANGE ...) by `get_object`. None = everybody who is signed in. A handler without an
    entry cannot be defined.
    """

    needs: ClassVar[Mapping[str, Action | None]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        extra = {name for name in dir(cls) if hasattr(getattr(cls, name, None), "mapping")}
        _complete(cls, extra | {name for name in STANDARD if hasattr(cls, name)})

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        needed = self.needs.get(self.action or "")
        if needed not in ROW_ACTIONS:
            _ask_platform(request, needed)

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return super().get_queryset().none()
        return access.visible(self.request.user, super().get_queryset())

    def get_object(self) -> Any:
        """The row of the address. 404 when the user may not see it, 403 when only that."""
        # Not the generic way: filters are for lists, and would hide the row at ?state=...
        key = self.kwargs[self.lookup_url_kwarg or "pk"]
        try:
            row: Model = self.get_queryset().get(pk=key)
        except (ObjectDoesNotExist, OverflowError, ValueError) as error:
            # no such row, no number, or one that nothing can hold
            raise self.missing(key) from error
        needed = self.needs[self.action]
        if needed in ROW_ACTIONS:
            access.require(self.request.user, needed, row)
        return row

    def missing(self, _key: str) -> Exception:
        """What to raise where the address leads to no row that the user may see."""
        return Http404()


def _complete(cls: type, handlers: set[str]) -> None:
    missing = sorted(handlers - set(cls.needs))  # type: ignore[attr-defined]
    if missing:
        message = f"{cls.__name__}.needs does not say who may {', '.join(missing)}"
        raise TypeError(message)


def _ask_platform(request: Request, needed: Action | None) -> None:
    if needed is not None:
        access.require(signed_in(request), needed)


class Page(LoginRequiredMixin, TemplateView):
    """A page for people who are signed in. `needs` is what their role must allow."""

    needs: Action | None = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Refuse before any handler runs."""
        if request.user.is_authenticated and self.needs is not None:
            access.require(request.user, self.needs)
        return super().dispatch(request, *args, **kwargs)

    def handle_no_permission(self) -> Any:
        """To the sign-in page; a part of a page is told by its status, since it would show that page inside."""
        if self.request.headers.get("HX-Request") == "true":
            return HttpResponse(status=UNAUTHENTICATED)
        return super().handle_no_permission()


def page_context(request: HttpRequest) -> dict[str, Any]:
    """For every template: what the menu may show."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {"may_create": False, "may_operate": False}
    return {
        "may_create": access.may(user, Action.CREATE),
        "may_operate": access.may(user, Action.OPERATE),
    }
