"""Oneself and one's limits, the order of one's own jobs, reservations, and why a job waits."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.api.serializers import Me, MeInput
from loraforge.accounts.entrypoints import Endpoint, signed_in
from loraforge.accounts.models import User
from loraforge.accounts.services import language_set
from loraforge.instances.selectors import instance_get
from loraforge.scheduling import selectors
from loraforge.scheduling.api import serializers
from loraforge.scheduling.queueing import queue_move
from loraforge.scheduling.reserving import reservation_cancel, reservation_create


def _me(user: User) -> dict[str, Any]:
    max_running, max_running_per_user = selectors.caps_of(user=user)
    return {
        "id": user.pk,
        "username": user.username,
        "role": user.role,
        "language": user.language,
        "capabilities": access.capabilities(user),
        "caps": {"max_running": max_running, "max_running_per_user": max_running_per_user},
    }


class MeView(Endpoint):
    """The user who asks. Here, since only the queue knows the limits that really hold."""

    needs: ClassVar[dict[str, Action | None]] = {"get": None, "patch": None}

    @extend_schema(responses=Me)
    def get(self, request: Request) -> Response:
        """The user who asks, with role and settings."""
        return Response(_me(signed_in(request)))

    @extend_schema(request=MeInput, responses=Me)
    def patch(self, request: Request) -> Response:
        """Change one's own settings."""
        data = MeInput(data=request.data)
        data.is_valid(raise_exception=True)
        return Response(_me(language_set(actor=signed_in(request), **data.validated_data)))


class JobMove(Endpoint):
    needs: ClassVar[dict[str, Action | None]] = {"post": None}

    @extend_schema(request=serializers.MoveInput, responses=serializers.MoveAnswer)
    def post(self, request: Request, pk: int) -> Response:
        """Let a waiting job go earlier or later among its owner's own; nobody else's move."""
        actor = signed_in(request)
        instance = instance_get(user=actor, instance_id=pk)
        access.require(actor, Action.CHANGE, instance)
        wanted = serializers.MoveInput(data=request.data)
        wanted.is_valid(raise_exception=True)
        moved = queue_move(actor=actor, instance=instance, move=wanted.validated_data["move"])
        return Response({"id": moved.pk, "queue_rank": moved.queue_rank})


class JobExplain(Endpoint):
    needs: ClassVar[dict[str, Action | None]] = {"get": Action.OPERATE}

    @extend_schema(responses=serializers.ExplainedSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """Order, limits and nodes that decide about a waiting job; nothing is changed."""
        instance = instance_get(user=signed_in(request), instance_id=pk)
        explained = selectors.explained_get(instance=instance)
        return Response(serializers.ExplainedSerializer(explained).data)


class ReservationList(Endpoint):
    needs: ClassVar[dict[str, Action | None]] = {"get": None, "post": Action.OPERATE}

    @extend_schema(responses=serializers.ReservationSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Those that have not ended, first to last."""
        user = signed_in(request)
        rows = list(selectors.reservation_list())
        known = selectors.reservations_known(user=user, rows=rows)
        context = {"known": known}
        return Response(serializers.ReservationSerializer(rows, many=True, context=context).data)

    @extend_schema(
        request=serializers.ReservationInput, responses={201: serializers.ReservationSerializer}
    )
    def post(self, request: Request) -> Response:
        """Keep devices for a user or a group for some time."""
        wanted = serializers.ReservationInput(data=request.data)
        wanted.is_valid(raise_exception=True)
        row = reservation_create(actor=signed_in(request), **wanted.validated_data)
        shown = serializers.ReservationSerializer(row, context={"known": {row.pk}})
        return Response(shown.data, status=status.HTTP_201_CREATED)


class ReservationOne(Endpoint):
    needs: ClassVar[dict[str, Action | None]] = {"delete": Action.OPERATE}

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Cancel it; its devices are everybody's again."""
        actor = signed_in(request)
        reservation_cancel(actor=actor, reservation=selectors.reservation_get(pk=pk))
        return Response(status=status.HTTP_204_NO_CONTENT)
