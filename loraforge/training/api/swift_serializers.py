"""Shapes of the endpoints about SWIFT's arguments."""

from typing import Any

from rest_framework import serializers

from loraforge.billing.api.serializers import EstimateOutput


class FindingOutput(serializers.Serializer[Any]):
    field = serializers.CharField()
    text = serializers.CharField()


class PreviewOutput(serializers.Serializer[Any]):
    argv = serializers.ListField(child=serializers.CharField())
    command_line = serializers.CharField(help_text="The same, quoted for a shell.")
    config_yaml = serializers.CharField()
    config_json = serializers.CharField()
    problems = FindingOutput(many=True)
    warnings = FindingOutput(many=True)
    model_type = serializers.CharField(allow_blank=True)
    template = serializers.CharField(allow_blank=True)
    effective_batch_size = serializers.IntegerField()
    estimate = EstimateOutput(
        allow_null=True, help_text="What it would cost; null where nothing has a price."
    )


class ArgumentOutput(serializers.Serializer[Any]):
    name = serializers.CharField()
    flag = serializers.CharField()
    type = serializers.CharField(help_text="As in SWIFT's source.")
    kind = serializers.ChoiceField(
        choices=["bool", "int", "float", "str", "choice", "json", "list_int", "list_float",
                 "list_str"]
    )  # fmt: skip
    choices = serializers.ListField(child=serializers.JSONField(), allow_null=True)
    suggestions = serializers.ListField(child=serializers.JSONField())
    default = serializers.JSONField(allow_null=True)
    group = serializers.CharField(help_text="The dataclass in SWIFT's source that defines it.")
    section = serializers.CharField(help_text="The section of a form where it stands.")
    help = serializers.CharField(help_text="What it is for, in the language of the request.")
    reserved = serializers.CharField(
        allow_blank=True, help_text="Why the platform sets it; empty = it is yours."
    )


class SectionOutput(serializers.Serializer[Any]):
    id = serializers.CharField()
    title = serializers.CharField(help_text="In the language of the request.")
    arguments = serializers.ListField(
        child=serializers.CharField(), help_text="Names, in the order of a form."
    )


class CatalogueOutput(serializers.Serializer[Any]):
    swift_version = serializers.CharField()
    command = serializers.CharField()
    groups = serializers.ListField(child=serializers.CharField())
    sections = SectionOutput(many=True)
    arguments = ArgumentOutput(many=True)
