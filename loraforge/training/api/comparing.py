"""A job's settings kept as a recipe, and two configurations beside each other."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers as drf
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Endpoint, signed_in
from loraforge.recipes.api.serializers import RecipeRow
from loraforge.recipes.comparing import Configuration, Line, configurations_compare
from loraforge.recipes.services import DESCRIPTION_MAX, NAME_MAX
from loraforge.training.api.views import body_of
from loraforge.training.comparing import configuration_get, job_recipe_create
from loraforge.training.selectors import job_get

KEY_MAX = 80


class JobRecipeInput(drf.Serializer[Any]):
    """The recipe to make of a job."""

    name = drf.CharField(max_length=NAME_MAX)
    description = drf.CharField(max_length=DESCRIPTION_MAX, required=False, allow_blank=True)
    with_datasets = drf.BooleanField(
        required=False, default=False, help_text="Keep which datasets it used, too."
    )


class JobRecipe(Endpoint):
    """A job's settings as a recipe of one's own."""

    needs: ClassVar[dict[str, Action | None]] = {"post": Action.CREATE}

    @extend_schema(request=JobRecipeInput, responses={201: RecipeRow})
    def post(self, request: Request, pk: int) -> Response:
        user = signed_in(request)
        job = job_get(user=user, job_id=pk)
        given = body_of(request, JobRecipeInput).validated_data
        recipe = job_recipe_create(actor=user, job=job, **given)
        return Response(RecipeRow(recipe).data, status=status.HTTP_201_CREATED)


class CompareQuery(drf.Serializer[Any]):
    """What is compared."""

    left = drf.CharField(
        max_length=KEY_MAX, help_text="A job's number, recipe:12, recipe:12:3 or recipe:<built-in>."
    )
    right = drf.CharField(max_length=KEY_MAX, help_text="The same.")
    all = drf.BooleanField(
        required=False, default=False, help_text="true: what is the same on both sides, too."
    )


class ComparedSideOutput(drf.Serializer[Any]):
    value = drf.JSONField(allow_null=True)
    is_default = drf.BooleanField(help_text="It was left out there: this holds by default.")


class ComparedLineOutput(drf.Serializer[Line]):
    name = drf.CharField()
    is_argument = drf.BooleanField(help_text="false: a setting of the form, not of SWIFT.")
    left = ComparedSideOutput()
    right = ComparedSideOutput()
    is_same = drf.BooleanField()


class ComparedOutput(drf.Serializer[Configuration]):
    key = drf.CharField()
    label = drf.CharField()  # type: ignore[assignment]
    catalogue_version = drf.CharField()


class CompareOutput(drf.Serializer[Any]):
    left = ComparedOutput()
    right = ComparedOutput()
    differences = drf.IntegerField()
    lines = ComparedLineOutput(many=True)


class JobCompare(Endpoint):
    """Two jobs, two recipes, two versions of one, or a job and a recipe."""

    needs: ClassVar[dict[str, Action | None]] = {"get": None}

    @extend_schema(parameters=[CompareQuery], responses=CompareOutput)
    def get(self, request: Request) -> Response:
        """What differs: settings first, then arguments, each with what holds on both sides."""
        data = CompareQuery(data=request.query_params)
        data.is_valid(raise_exception=True)
        query, user = data.validated_data, signed_in(request)
        left, right = (
            configuration_get(user=user, key=query[name], field=name) for name in ("left", "right")
        )
        lines = configurations_compare(left, right)
        different = [line for line in lines if not line.is_same]
        answer: Any = {
            "left": left,
            "right": right,
            "differences": len(different),
            "lines": lines if query["all"] else different,
        }
        return Response(CompareOutput(answer).data)
