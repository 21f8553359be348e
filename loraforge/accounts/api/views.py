"""Signing in, oneself, and one's API tokens."""

from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from loraforge.accounts import services
from loraforge.accounts.api import serializers
from loraforge.accounts.authentication import tokens_issue, tokens_renew
from loraforge.accounts.entrypoints import Public, Viewset, signed_in
from loraforge.accounts.models import ApiToken, Secret
from loraforge.core.errors import Denied


class Doorway(APIView):
    """Where strangers come in: nothing of theirs is looked at but the body."""

    authentication_classes = ()
    permission_classes = (Public,)
    throttle_scope = "token"

    def get_authenticate_header(self, request: Request) -> str:
        """So that a refusal is 401, not 403."""
        return "Bearer"


class TokenObtain(Doorway):
    """Name and password for a pair of JWTs."""

    @extend_schema(request=serializers.TokenObtainInput, responses=serializers.TokenPair, auth=[])
    def post(self, request: Request) -> Response:
        data = serializers.TokenObtainInput(data=request.data)
        data.is_valid(raise_exception=True)
        # axes marks the request that its middleware sees, which is Django's and not DRF's
        plain = request._request  # noqa: SLF001 - DRF has no public name for it
        return Response(tokens_issue(request=plain, **data.validated_data))


class TokenRenew(Doorway):
    """A refresh token for the next pair."""

    @extend_schema(request=serializers.TokenRenewInput, responses=serializers.TokenPair, auth=[])
    def post(self, request: Request) -> Response:
        data = serializers.TokenRenewInput(data=request.data)
        data.is_valid(raise_exception=True)
        return Response(tokens_renew(**data.validated_data))


class ApiTokens(ListModelMixin, Viewset):
    """One's own API tokens, for programs."""

    queryset = ApiToken.objects.all()
    serializer_class = serializers.ApiTokenOutput
    lookup_value_converter = "int"
    needs = {"list": None, "create": None, "destroy": None}

    def get_queryset(self) -> Any:
        """Nobody sees another's, operators included."""
        rows = super().get_queryset()
        return rows.filter(owner=self.request.user) if self.request.user.pk else rows.none()

    @extend_schema(request=serializers.ApiTokenInput, responses={201: serializers.ApiTokenCreated})
    def create(self, request: Request) -> Response:
        """Make a token; it is shown only in this answer."""
        if isinstance(request.auth, ApiToken):
            raise Denied(
                "auth:denied", _("An API token cannot make another one. Sign in for that.")
            )
        data = serializers.ApiTokenInput(data=request.data)
        data.is_valid(raise_exception=True)
        token, text = services.token_create(actor=signed_in(request), **data.validated_data)
        body = {**serializers.ApiTokenOutput(token).data, "token": text}
        return Response(body, status=status.HTTP_201_CREATED)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: int) -> Response:
        """Revoke a token."""
        services.token_delete(actor=signed_in(request), token_id=pk)
        return Response(status=status.HTTP_204_NO_CONTENT)


class Secrets(ListModelMixin, Viewset):
    """One's own secrets for services elsewhere: which there are, never what they are."""

    queryset = Secret.objects.all()
    serializer_class = serializers.SecretOutput
    lookup_field = "kind"
    needs = {"list": None, "put": None, "destroy": None}

    def get_queryset(self) -> Any:
        """Nobody sees another's, operators included."""
        rows = Secret.objects.all()
        return rows.filter(owner=self.request.user) if self.request.user.pk else rows.none()

    @extend_schema(request=serializers.SecretInput, responses=serializers.SecretOutput)
    def put(self, request: Request, kind: str) -> Response:
        """Store a secret, in place of an earlier one."""
        data = serializers.SecretInput(data=request.data)
        data.is_valid(raise_exception=True)
        actor = signed_in(request)
        secret = services.secret_put(actor=actor, kind=kind, value=data.validated_data["value"])
        return Response(serializers.SecretOutput(secret).data)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, kind: str) -> Response:
        """Remove a secret."""
        services.secret_delete(actor=signed_in(request), kind=kind)
        return Response(status=status.HTTP_204_NO_CONTENT)
