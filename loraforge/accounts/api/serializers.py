"""Shapes of the account endpoints."""

from typing import Any

from django.conf import settings
from rest_framework import serializers

from loraforge.accounts.access import Action
from loraforge.accounts.models import ApiToken, Role, Secret

LONGEST_PASSWORD = 1000


class TokenObtainInput(serializers.Serializer[Any]):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=LONGEST_PASSWORD, trim_whitespace=False)


class TokenRenewInput(serializers.Serializer[Any]):
    refresh = serializers.CharField(max_length=4000)


class TokenPair(serializers.Serializer[Any]):
    access = serializers.CharField(help_text="For the header `Authorization: Bearer`; 10 minutes.")
    refresh = serializers.CharField(help_text="Works once, at `auth/token/refresh/`; 7 days.")


class Caps(serializers.Serializer[Any]):
    max_running = serializers.IntegerField(help_text="Jobs at once on the whole platform.")
    max_running_per_user = serializers.IntegerField(help_text="Jobs at once of this user.")


class Me(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    username = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.choices)
    language = serializers.CharField(allow_blank=True)
    capabilities = serializers.ListField(
        child=serializers.ChoiceField(choices=[action.value for action in Action]),
        help_text="What the role may do to the platform.",
    )
    caps = Caps()


class MeInput(serializers.Serializer[Any]):
    language = serializers.ChoiceField(choices=settings.LANGUAGES, allow_blank=True)


class ApiTokenOutput(serializers.ModelSerializer[ApiToken]):
    class Meta:
        model = ApiToken
        fields: tuple[str, ...] = ("id", "name", "created_at", "expires_at", "last_used_at")
        read_only_fields: tuple[str, ...] = fields


class ApiTokenInput(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)


class ApiTokenCreated(ApiTokenOutput):
    token = serializers.CharField(help_text="Shown once; only its hash is kept.", read_only=True)

    class Meta(ApiTokenOutput.Meta):
        fields = (*ApiTokenOutput.Meta.fields, "token")
        read_only_fields = fields


class SecretOutput(serializers.ModelSerializer[Secret]):
    class Meta:
        model = Secret
        fields = ("kind", "created_at", "changed_at")
        read_only_fields = fields


class SecretInput(serializers.Serializer[Any]):
    value = serializers.CharField(
        max_length=2000, write_only=True, help_text="Kept sealed; never shown again."
    )
