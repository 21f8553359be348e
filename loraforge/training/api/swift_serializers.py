"""Shapes of the endpoints about SWIFT's arguments."""

from typing import Any

from rest_framework import serializers

from loraforge.billing.api.serializers import EstimateOutput
from loraforge.swift.forms.pasting import LONGEST_TEXT
from loraforge.training.forecast import Forecast, disk_said, duration_said, memory_said
from loraforge.training.models import Command


class FindingOutput(serializers.Serializer[Any]):
    field = serializers.CharField()
    text = serializers.CharField()


class ForecastOutput(serializers.Serializer[Any]):
    """What a job will take; null wherever nobody knows. Texts are in the reader's language."""

    memory_bytes = serializers.IntegerField(allow_null=True, help_text="On each GPU, at most.")
    fits = serializers.BooleanField(
        allow_null=True, help_text="Whether a card that it may get has as much."
    )
    steps = serializers.IntegerField(allow_null=True)
    checkpoint_bytes = serializers.IntegerField(allow_null=True, help_text="Of one.")
    checkpoints_bytes = serializers.IntegerField(allow_null=True, help_text="Of all that stay.")
    duration_s = serializers.IntegerField(
        allow_null=True, help_text="By jobs like it that have ended; null without one."
    )
    memory_text = serializers.SerializerMethodField()
    disk_text = serializers.SerializerMethodField()
    duration_text = serializers.SerializerMethodField()

    def get_memory_text(self, forecast: Forecast) -> str:
        """Beside the memory of the largest card that it may get."""
        return memory_said(forecast)

    def get_disk_text(self, forecast: Forecast) -> str:
        """Of the checkpoints that stay."""
        return disk_said(forecast)

    def get_duration_text(self, forecast: Forecast) -> str:
        """Unknown without history."""
        return duration_said(forecast)


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
    forecast = ForecastOutput()


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
    when = serializers.ListField(
        child=serializers.ListField(
            child=serializers.DictField(child=serializers.ListField(child=serializers.JSONField()))
        ),
        help_text="When it has an effect: all of these conditions hold. A condition holds where one of its "
        "alternatives does: each named argument has one of the values (* = any). [] = always.",
    )
    range = serializers.CharField(
        allow_blank=True, help_text="The numbers it takes; empty = not bounded."
    )
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
    deciding = serializers.DictField(
        child=serializers.JSONField(allow_null=True),
        help_text="Arguments that conditions ask about -> their defaults.",
    )
    sections = SectionOutput(many=True)
    arguments = ArgumentOutput(many=True)


class VariableOutput(serializers.Serializer[Any]):
    """An environment variable that a job may set."""

    name = serializers.CharField()
    group = serializers.CharField(help_text="In the language of the request.")
    kind = serializers.ChoiceField(choices=["int", "float", "choice", "text"])
    choices = serializers.ListField(child=serializers.CharField())
    minimum = serializers.FloatField(allow_null=True)
    maximum = serializers.FloatField(allow_null=True)
    example = serializers.CharField(allow_blank=True)
    help = serializers.CharField(help_text="In the language of the request.")


class EnvironmentOutput(serializers.Serializer[Any]):
    variables = VariableOutput(many=True)


class ParseInput(serializers.Serializer[Any]):
    """A `swift ...` command line, or a configuration file as YAML or JSON."""

    text = serializers.CharField(max_length=LONGEST_TEXT, trim_whitespace=False)
    command = serializers.ChoiceField(
        choices=Command.choices,
        default=Command.SFT.value,
        help_text="Whose arguments they are, where the text does not say.",
    )


class ParseOutput(serializers.Serializer[Any]):
    """The fields of a job that the text holds, for `POST jobs/`; nothing of it is stored."""

    command = serializers.CharField(source="pasted.command")
    module = serializers.CharField(help_text="The form that it belongs into.")
    arguments = serializers.DictField(source="pasted.arguments", child=serializers.JSONField())
    model = serializers.CharField(source="pasted.model", allow_blank=True)
    model_type = serializers.CharField(source="pasted.model_type", allow_blank=True)
    template = serializers.CharField(source="pasted.template", allow_blank=True)
    datasets = serializers.ListField(
        child=serializers.IntegerField(), help_text="Ids of your datasets of these names."
    )
    validation_datasets = serializers.ListField(child=serializers.IntegerField())
    remote_datasets = serializers.ListField(
        child=serializers.CharField(), help_text="Remote ids that you have no dataset of yet."
    )
    remote_validation_datasets = serializers.ListField(child=serializers.CharField())
    ref_model = serializers.CharField(source="pasted.ref_model", allow_blank=True)
    teacher_model = serializers.CharField(source="pasted.teacher_model", allow_blank=True)
    reward_models = serializers.ListField(
        source="pasted.reward_models", child=serializers.CharField()
    )
    environment = serializers.DictField(source="pasted.environment", child=serializers.CharField())
    processes = serializers.IntegerField(source="pasted.processes", allow_null=True)
    gpus = serializers.IntegerField(source="pasted.gpus", allow_null=True)
    problems = FindingOutput(
        source="findings.problems", many=True, help_text="What was left out, and why."
    )
    warnings = FindingOutput(source="findings.warnings", many=True)
