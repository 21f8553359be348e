"""Moving jobs between nodes, and emptying nodes."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Endpoint, Viewset, signed_in
from loraforge.migration import services
from loraforge.migration.api import serializers
from loraforge.migration.draining import node_drain
from loraforge.migration.models import Migration, Prefetch
from loraforge.migration.prefetching import LISTED, model_prefetch
from loraforge.migration.selectors import migration_list
from loraforge.nodes.selectors import node_get
from loraforge.training.models import Job

BEST = "best"


def _body(request: Request, kind: Any) -> dict[str, Any]:
    data = kind(data=request.data)
    data.is_valid(raise_exception=True)
    found: dict[str, Any] = data.validated_data
    return found


class JobMigrate(Viewset):
    """A running job goes on at another node, from a checkpoint of now, as its next attempt."""

    queryset = Job.objects.filter(instance__deleted_at=None).select_related("instance")
    lookup_url_kwarg = "id"
    serializer_class = serializers.MigrationOutput
    needs: ClassVar[dict[str, Action | None]] = {
        "migrate": Action.CHANGE,
        "cancel": Action.CHANGE,
        "migrations": Action.VIEW,
    }

    def _answer(self, row: Migration, code: int = 200) -> Response:
        fresh = Migration.objects.select_related("source", "target", "actor").get(pk=row.pk)
        return Response(serializers.MigrationOutput(fresh).data, status=code)

    @extend_schema(request=serializers.MigrateInput, responses={202: serializers.MigrationOutput})
    def migrate(self, request: Request, **_path: Any) -> Response:
        """Begin to move it; the steps are told by `migrations/`."""
        actor, job = signed_in(request), self.get_object()
        name = _body(request, serializers.MigrateInput)["node"]
        node = None if name in {"", BEST} else node_get(user=actor, name=name)
        return self._answer(services.job_migrate(actor=actor, job=job, node=node), 202)

    @extend_schema(request=None, responses=serializers.MigrationOutput)
    def cancel(self, request: Request, **_path: Any) -> Response:
        """Call the move off; the training goes on where it is."""
        job = self.get_object()
        return self._answer(services.migration_cancel(actor=signed_in(request), job=job))

    @extend_schema(responses=serializers.MigrationOutput(many=True), filters=False)
    def migrations(self, request: Request, **_path: Any) -> Response:
        """Every move of it, newest first."""
        job = self.get_object()
        rows = migration_list(user=signed_in(request), instance=job.instance)
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(serializers.MigrationOutput(page, many=True).data)


class NodeDrain(Endpoint):
    """Empty a node: it takes no new jobs, its jobs move or end, then it is in maintenance."""

    needs: ClassVar[dict[str, Action | None]] = {"post": Action.OPERATE}

    @extend_schema(request=serializers.DrainInput, responses={202: serializers.DrainOutput})
    def post(self, request: Request, name: str) -> Response:
        """Begin. `uncordon/` ends it at any time."""
        actor = signed_in(request)
        wanted = _body(request, serializers.DrainInput)
        node = node_get(user=actor, name=name)
        drain = node_drain(actor=actor, node=node, **wanted)
        drain.refresh_from_db()
        return Response(serializers.DrainOutput(drain).data, status=202)


class NodePrefetches(Endpoint):
    """Models fetched ahead into a node's cache."""

    needs: ClassVar[dict[str, Action | None]] = {"get": Action.OPERATE, "post": Action.OPERATE}

    @extend_schema(responses=serializers.PrefetchOutput(many=True))
    def get(self, request: Request, name: str) -> Response:
        """The newest fifty."""
        node = node_get(user=signed_in(request), name=name)
        rows = Prefetch.objects.filter(node=node).select_related("node")[:LISTED]
        return Response(serializers.PrefetchOutput(rows, many=True).data)

    @extend_schema(request=serializers.PrefetchInput, responses={202: serializers.PrefetchOutput})
    def post(self, request: Request, name: str) -> Response:
        """Begin to fetch one."""
        actor = signed_in(request)
        wanted = _body(request, serializers.PrefetchInput)
        row = model_prefetch(
            actor=actor,
            node=node_get(user=actor, name=name),
            hub=wanted["hub"],
            repo=wanted["model"],
            revision=wanted["revision"],
        )
        row.refresh_from_db()
        return Response(serializers.PrefetchOutput(row).data, status=202)
