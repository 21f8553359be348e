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
from loraforge.swift.catalogue import Argument, Catalogue, Command, catalogue_load
from loraforge.swift.forms.environment import GROUPS, Variable, variables_load
from loraforge.swift.forms.modules import range_of
from loraforge.swift.forms.visibility import conditions_within, deciding
from loraforge.swift.reserved import reserved_reason
from loraforge.training import selectors
from loraforge.training.api import serializers, swift_serializers
from loraforge.training.api.views import body_of
from loraforge.training.models import Command as JobType
from loraforge.training.pasting import pasted_read

SEARCH_MAX = 200


class CatalogueQuery(drf.Serializer[Any]):
    command = drf.ChoiceField(choices=JobType.choices, default=JobType.SFT.value)
    search = drf.CharField(required=False, max_length=SEARCH_MAX, allow_blank=True, default="")


def _argument(
    argument: Argument, command: Command, catalogue: Catalogue, language: str | None
) -> dict[str, Any]:
    reason = reserved_reason(argument.name, command.name)
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
        "when": conditions_within(argument.name, command.name),
        "range": range_of(argument.name),
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
            "deciding": deciding(command),
            "sections": [
                {"id": section.id, "title": section.title.told(language), "arguments": names}
                for section, names in sections_of(found)
            ],
            "arguments": [_argument(argument, command, catalogue, language) for argument in found],
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


def _variable(name: str, variable: Variable, language: str | None) -> dict[str, Any]:
    return {
        "name": name,
        "group": GROUPS[variable.group].told(language),
        "kind": variable.kind,
        "choices": list(variable.choices),
        "minimum": variable.ge,
        "maximum": variable.le,
        "example": variable.example,
        "help": variable.help.told(language),
    }


class SwiftEnvironment(Endpoint):
    """The environment variables that a job may set, with help in the language of the request."""

    needs = {"get": None}

    @extend_schema(responses=swift_serializers.EnvironmentOutput)
    def get(self, _request: Request) -> Response:
        language = get_language()
        rows = [_variable(name, one, language) for name, one in variables_load().items()]
        return Response({"variables": rows})


class SwiftParse(Endpoint):
    """A pasted command line or configuration file, as the fields of a job. Nothing is stored."""

    needs = {"post": Action.CREATE}

    @extend_schema(request=swift_serializers.ParseInput, responses=swift_serializers.ParseOutput)
    def post(self, request: Request) -> Response:
        body = body_of(request, swift_serializers.ParseInput).validated_data
        read = pasted_read(user=signed_in(request), text=body["text"], command=body["command"])
        return Response(swift_serializers.ParseOutput(read).data)
