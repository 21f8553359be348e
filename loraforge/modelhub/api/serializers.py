"""Plain data of models."""

from typing import Any

from rest_framework import serializers

from loraforge.modelhub.locations import HUBS, KINDS
from loraforge.modelhub.services import ModelDescription


class ModelChoiceSerializer(serializers.Serializer[Any]):
    """A model to pick."""

    model = serializers.CharField(help_text="what a job is given: a hub id, or a path on the node")
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=KINDS)
    hub = serializers.CharField()
    ms = serializers.CharField(allow_null=True, help_text="id at ModelScope")
    hf = serializers.CharField(allow_null=True, help_text="id at Hugging Face")
    model_type = serializers.CharField(allow_null=True)
    template = serializers.CharField(allow_null=True)
    is_multimodal = serializers.BooleanField()


class ModelSearchSerializer(serializers.Serializer[Any]):
    """Every word must be in a model's id, type or path."""

    search = serializers.CharField(max_length=200, required=False, default="", allow_blank=True)


class ModelQuerySerializer(serializers.Serializer[Any]):
    """A hub id, an address of a hub's page, or a folder on a node."""

    model = serializers.CharField(max_length=500)
    hub = serializers.ChoiceField(choices=HUBS, required=False, default="", allow_blank=True)


class ModelDescriptionSerializer(serializers.Serializer[ModelDescription]):
    """What belongs to a model."""

    model = serializers.CharField()
    kind = serializers.ChoiceField(choices=KINDS)
    hub = serializers.CharField()
    model_type = serializers.CharField(allow_null=True)
    template = serializers.CharField(allow_null=True)
    candidate_types = serializers.ListField(child=serializers.CharField())
    candidate_templates = serializers.ListField(child=serializers.CharField())
    is_certain = serializers.BooleanField(help_text="false: a guess that should be shown as one")
    is_multimodal = serializers.BooleanField()
    revision = serializers.CharField(
        allow_blank=True, help_text="that a pasted address names; empty = the hub's default"
    )
    warnings = serializers.ListField(child=serializers.CharField())
