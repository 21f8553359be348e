"""Instances of all kinds, and the nodes that they occupy."""

from collections.abc import Iterable
from typing import Any, ClassVar

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Viewset, signed_in
from loraforge.instances import selectors
from loraforge.instances.api import serializers
from loraforge.instances.models import Instance, Kind
from loraforge.instances.states import State
from loraforge.nodes.models import Node
from loraforge.nodes.selectors import node_get, node_list
from loraforge.nodes.services import node_cordon, node_uncordon


class InstanceFilter(django_filters.FilterSet):
    """``?state=running&state=queued&kind=job&node=n1&search=text``."""

    state = django_filters.MultipleChoiceFilter(
        choices=[(state.value, state.value) for state in State]
    )
    kind = django_filters.ChoiceFilter(choices=Kind.choices)
    node = django_filters.CharFilter(field_name="node__name")
    search = django_filters.CharFilter(field_name="name", lookup_expr="icontains")

    class Meta:
        model = Instance
        fields: ClassVar[list[str]] = []


class InstanceViewset(ListModelMixin, RetrieveModelMixin, Viewset):
    """Everything that occupies nodes and that the asker may see."""

    queryset = Instance.objects.filter(deleted_at=None).select_related(
        "owner", "node", "wanted_node"
    )
    serializer_class = serializers.InstanceSerializer
    lookup_value_regex = "[0-9]+"
    filterset_class = InstanceFilter
    needs: ClassVar[dict[str, Action | None]] = {"list": None, "retrieve": Action.VIEW}


class NodeViewset(Viewset):
    """Nodes and their devices: everybody sees what is free, operators also who holds what."""

    queryset = Node.objects.all()
    serializer_class = serializers.NodeSerializer
    lookup_field = "name"
    lookup_value_regex = "[a-z0-9-]+"
    needs: ClassVar[dict[str, Action | None]] = {
        "list": None,
        "retrieve": None,
        "cordon": Action.OPERATE,
        "uncordon": Action.OPERATE,
    }
    filter_backends = ()

    def get_queryset(self) -> QuerySet[Node]:
        """Nodes belong to nobody; all who are signed in see that they exist."""
        return node_list(user=self.request.user)

    def _shown(self, nodes: Iterable[Node]) -> dict[str, Any]:
        return {"holders": selectors.device_holders(user=self.request.user, nodes=nodes)}

    def _answer(self, name: str) -> Response:
        node = node_get(user=signed_in(self.request), name=name)
        return Response(serializers.NodeSerializer(node, context=self._shown([node])).data)

    @extend_schema(responses=serializers.NodeSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Nodes with their devices and what is free."""
        page = self.paginate_queryset(self.get_queryset()) or []
        rows = serializers.NodeSerializer(page, many=True, context=self._shown(page)).data
        return self.get_paginated_response(rows)

    @extend_schema(responses=serializers.NodeSerializer)
    def retrieve(self, request: Request, name: str) -> Response:
        """One node with its devices."""
        return self._answer(name)

    @extend_schema(request=None, responses=serializers.NodeSerializer)
    @action(detail=True, methods=["post"])
    def cordon(self, request: Request, name: str) -> Response:
        """Give the node no new jobs; what runs there goes on."""
        actor = signed_in(request)
        node_cordon(actor=actor, node=node_get(user=actor, name=name))
        return self._answer(name)

    @extend_schema(request=None, responses=serializers.NodeSerializer)
    @action(detail=True, methods=["post"])
    def uncordon(self, request: Request, name: str) -> Response:
        """Let the node take jobs again."""
        actor = signed_in(request)
        node_uncordon(actor=actor, node=node_get(user=actor, name=name))
        return self._answer(name)
