"""What SWIFT accepts, and what a draft would become."""

from typing import Any

from django.utils.translation import get_language
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers as drf
from rest_framework.request import Request
from rest_framework.response import Response

from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Endpoint, signed_in
from loraforge.swift.argument_help import arguments_search, help_load, sections_of
from loraforge.swift.catalogue import Argument, Catalogue, catalogue_load
from loraforge.swift.reserved import reserved_reason
from loraforge.training import selectors
from loraforge.training.api import serializers, swift_serializers
from loraforge.training.api.views import body_of
from loraforge.training.models import Command

SEARCH_MAX = 200


class CatalogueQuery(drf.Serializer[Any]):
    command = drf.ChoiceField(choices=Command.choices, default=Command.SFT.value)
    search = drf.CharField(required=False, max_length=SEARCH_MAX, allow_blank=True, default="")


def _argument(
    argument: Argument, command: str, catalogue: Catalogue, language: str | None
) -> dict[str, Any]:
    reason = reserved_reason(argument.name, command)
    told = help_load()[argument.name]
    return {
        "name": argument.name,
        "flag": argument.flags[0],
        "type": argument.type,
        "kind": argument.kind,
        "choices": argument.choices,
        "suggestions": catalogue.suggestions(argument),
        "default": argument.default,
        "group": argument.group,
        "section": told.section,
        "help": told.words.told(language),
        "reserved": _(reason) % {"name": argument.name} if reason else "",
    }


class SwiftCatalogue(Endpoint):
    """The arguments of a command, in SWIFT's order, with help in the language of the request."""

    needs = {"get": None}

    @extend_schema(parameters=[CatalogueQuery], responses=swift_serializers.CatalogueOutput)
    def get(self, request: Request) -> Response:
        query = CatalogueQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        catalogue = catalogue_load()
        command = catalogue.commands[query.validated_data["command"]]
        language = get_language()
        found = arguments_search(command, query.validated_data["search"], language)
        body = {
            "swift_version": catalogue.swift_version,
            "command": command.name,
            "groups": command.groups,
            "sections": [
                {"id": section.id, "title": section.title.told(language), "arguments": names}
                for section, names in sections_of(found)
            ],
            "arguments": [
                _argument(argument, command.name, catalogue, language) for argument in found
            ],
        }
        return Response(body)


class SwiftPreview(Endpoint):
    """A draft, judged but not stored."""

    needs = {"post": Action.CREATE}

    @extend_schema(request=serializers.JobInput, responses=swift_serializers.PreviewOutput)
    def post(self, request: Request) -> Response:
        draft = body_of(request, serializers.JobInput).draft()
        preview = selectors.job_preview(user=signed_in(request), draft=draft)
        return Response(swift_serializers.PreviewOutput(preview).data)
