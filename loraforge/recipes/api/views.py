"""Recipes: list, save, versions, shares; the built-in ones to read."""

from typing import Any, ClassVar

from django.utils.translation import get_language
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers as drf
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Endpoint, Viewset, signed_in
from loraforge.accounts.models import User
from loraforge.accounts.sharing import holder_list
from loraforge.recipes import selectors, services
from loraforge.recipes.api import serializers
from loraforge.recipes.builtin import builtins_search
from loraforge.recipes.models import Recipe
from loraforge.recipes.unsent import unsent_discard, unsent_get, unsent_save
from loraforge.recipes.wiring import SHARE_PERMISSION

_ACTIONS = (Action.VIEW, Action.CHANGE, Action.SHARE)


def _checked(kind: type[drf.Serializer[Any]], given: Any) -> dict[str, Any]:
    """Raises ValidationError with every wrong field."""
    data = kind(data=given)
    data.is_valid(raise_exception=True)
    return dict(data.validated_data)


def _answer(recipe: Recipe, user: User, *, code: int = status.HTTP_200_OK) -> Response:
    version = selectors.version_get(recipe=recipe)
    body = {
        **serializers.RecipeRow(recipe).data,
        "draft": version.draft,
        "catalogue_version": version.catalogue_version,
        "allowed": [str(one) for one in _ACTIONS if access.allowed(user, one, recipe)],
    }
    return Response(body, status=code)


class Recipes(Viewset):
    """Recipes that the asker owns or that were shared. Built-in ones stand at `recipes/builtin/`."""

    queryset = Recipe.objects.filter(deleted_at=None).select_related("owner")
    serializer_class = serializers.RecipeOutput
    filter_backends = ()
    needs: ClassVar[dict[str, Action | None]] = {
        "list": None,
        "create": Action.CREATE,
        "retrieve": Action.VIEW,
        "partial_update": Action.CHANGE,
        "destroy": Action.CHANGE,
        "versions": Action.VIEW,
        "version": Action.VIEW,
        "shares": Action.SHARE,
        "share_delete": Action.SHARE,
    }

    def missing(self, key: str) -> Exception:
        return selectors.recipe_missing(key)

    def _paged(self, rows: Any, kind: type[drf.BaseSerializer[Any]]) -> Response:
        page: Any = self.paginate_queryset(rows)
        return self.get_paginated_response(kind(page, many=True).data)

    @extend_schema(parameters=[serializers.SearchQuery], responses=serializers.RecipeRow(many=True))
    def list(self, request: Request) -> Response:
        """Recipes that the asker may see, last changed first."""
        query = _checked(serializers.SearchQuery, request.query_params)
        rows = selectors.recipe_list(user=request.user, search=query["search"])
        return self._paged(rows, serializers.RecipeRow)

    @extend_schema(request=serializers.RecipeInput, responses={201: serializers.RecipeOutput})
    def create(self, request: Request) -> Response:
        """Save a draft as a recipe of one's own."""
        user = signed_in(request)
        given = _checked(serializers.RecipeInput, request.data)
        recipe = services.recipe_create(actor=user, **given)
        return _answer(recipe, user, code=status.HTTP_201_CREATED)

    def retrieve(self, request: Request, **_path: Any) -> Response:
        """A recipe with its newest version."""
        return _answer(self.get_object(), signed_in(request))

    @extend_schema(request=serializers.RecipePatchInput)
    def partial_update(self, request: Request, **_path: Any) -> Response:
        """Rename or describe it; a draft becomes its next version."""
        recipe, user = self.get_object(), signed_in(request)
        given = _checked(serializers.RecipePatchInput, request.data)
        return _answer(services.recipe_update(actor=user, recipe=recipe, **given), user)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, **_path: Any) -> Response:
        """Delete it. Jobs that were made from it stay as they are."""
        services.recipe_delete(actor=signed_in(request), recipe=self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(methods=["get"], responses=serializers.VersionRow(many=True))
    @extend_schema(
        methods=["post"],
        request=serializers.RestoreInput,
        responses={201: serializers.RecipeOutput},
    )
    @action(detail=True, methods=["get", "post"])
    def versions(self, request: Request, **_path: Any) -> Response:
        """All versions, newest first; POST makes an older one the newest again."""
        recipe, user = self.get_object(), signed_in(request)
        if request.method == "POST":
            access.require(user, Action.CHANGE, recipe)
            number = _checked(serializers.RestoreInput, request.data)["restore"]
            restored = services.recipe_restore(actor=user, recipe=recipe, number=number)
            return _answer(restored, user, code=status.HTTP_201_CREATED)
        return self._paged(selectors.version_list(recipe=recipe), serializers.VersionRow)

    @extend_schema(
        parameters=[OpenApiParameter("number", int, OpenApiParameter.PATH)],
        responses=serializers.VersionOutput,
    )
    @action(detail=True)
    def version(self, request: Request, number: int, **_path: Any) -> Response:
        """One version with what it says."""
        found = selectors.version_get(recipe=self.get_object(), number=number)
        return Response(serializers.VersionOutput(found).data)

    @extend_schema(methods=["get"], responses=serializers.ShareHolderOutput(many=True))
    @extend_schema(
        methods=["post"],
        request=serializers.ShareHolderInput,
        responses={201: serializers.ShareHolderOutput},
    )
    @action(detail=True, methods=["get", "post"])
    def shares(self, request: Request, **_path: Any) -> Response:
        """Who else may see it and make jobs from it: people, and groups that one is in."""
        recipe, user = self.get_object(), signed_in(request)
        if request.method == "POST":
            given = _checked(serializers.ShareHolderInput, request.data)
            holder = services.recipe_share(actor=user, recipe=recipe, **given)
            code = status.HTTP_201_CREATED
            return Response(serializers.ShareHolderOutput(holder).data, status=code)
        rows = holder_list(user=user, row=recipe, codename=SHARE_PERMISSION)
        return self._paged(rows, serializers.ShareHolderOutput)

    @extend_schema(parameters=[serializers.ShareHolderInput], responses={204: None})
    @action(detail=True, methods=["delete"])
    def share_delete(self, request: Request, **_path: Any) -> Response:
        """Take a share back: `?user=` or `?group=`."""
        recipe = self.get_object()
        given = _checked(serializers.ShareHolderInput, request.query_params)
        services.recipe_unshare(actor=signed_in(request), recipe=recipe, **given)
        return Response(status=status.HTTP_204_NO_CONTENT)


class Builtins(Endpoint):
    """Built-in recipes for common models."""

    needs: ClassVar[dict[str, Action | None]] = {"get": None}

    @extend_schema(
        parameters=[serializers.SearchQuery], responses=serializers.BuiltinOutput(many=True)
    )
    def get(self, request: Request) -> Response:
        """All of them, or those that hold every word of the search."""
        query = _checked(serializers.SearchQuery, request.query_params)
        language = get_language()
        rows = [
            {
                "id": one.id,
                "name": one.name.told(language),
                "description": one.description.told(language),
                "draft": one.draft,
            }
            for one in builtins_search(query["search"])
        ]
        return Response(rows)


class UnsentForms(Endpoint):
    """The form of a new job as one left it, one for each source that it can be filled from."""

    needs: ClassVar[dict[str, Action | None]] = {
        "get": Action.CREATE,
        "put": Action.CREATE,
        "delete": Action.CREATE,
    }

    @extend_schema(parameters=[serializers.UnsentQuery], responses=serializers.UnsentOutput)
    def get(self, request: Request) -> Response:
        """The form; version 0 when there is none."""
        source = _checked(serializers.UnsentQuery, request.query_params)["source"]
        kept = unsent_get(user=signed_in(request), source=source)
        if kept is None:
            return Response({"source": source, "version": 0, "saved_at": None, "draft": None})
        return Response(serializers.UnsentOutput(kept).data)

    @extend_schema(request=serializers.UnsentInput, responses=serializers.UnsentKept)
    def put(self, request: Request) -> Response:
        """Keep it. 409 when another page has kept or sent it since the version that this one has seen."""
        given = _checked(serializers.UnsentInput, request.data)
        kept = unsent_save(actor=signed_in(request), **given)
        return Response(serializers.UnsentKept(kept).data)

    @extend_schema(parameters=[serializers.UnsentSeen], responses={204: None})
    def delete(self, request: Request) -> Response:
        """It was sent, or is not wanted any more; what another page has kept since stays."""
        seen = _checked(serializers.UnsentSeen, request.query_params)
        unsent_discard(actor=signed_in(request), **seen)
        return Response(status=status.HTTP_204_NO_CONTENT)
