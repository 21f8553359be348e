"""Logs, metrics and readings of one job. Thin: the rule of access is `instance_get`."""

from typing import Any, ClassVar

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Endpoint
from loraforge.instances.models import Instance
from loraforge.instances.selectors import instance_get
from loraforge.telemetry import readings, selectors
from loraforge.telemetry.api import serializers, streaming

Needs = dict[str, Action | None]


class _Job(Endpoint):
    """An address below a job that the asker may see."""

    needs: ClassVar[Needs] = {"get": None}

    def instance(self, request: Request, pk: int) -> Instance:
        return instance_get(user=request.user, instance_id=pk)

    @staticmethod
    def asked(query: type[BaseSerializer[Any]], request: Request) -> dict[str, Any]:
        checked = query(data=request.query_params)
        checked.is_valid(raise_exception=True)
        found: dict[str, Any] = checked.validated_data
        return found


class JobMetrics(_Job):
    needs: ClassVar[Needs] = {"get": None}

    @extend_schema(parameters=[serializers.MetricQuery], responses=serializers.MetricPageSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """Metric rows from a cursor on, over all attempts; or whole series for a chart."""
        instance, asked = self.instance(request, pk), self.asked(serializers.MetricQuery, request)
        if "points" in asked:
            series, last = selectors.metric_chart(instance=instance, points=asked["points"])
            return Response({"series": series, "next": str(last), "more": False})
        after = selectors.cursor_get(asked["after"])
        page = selectors.metric_rows(instance=instance, after=after, limit=asked["limit"])
        return Response({"rows": page.rows, "next": str(page.next), "more": page.more})


class JobLog(_Job):
    needs: ClassVar[Needs] = {"get": None}

    @extend_schema(parameters=[serializers.LogQuery], responses=serializers.LogPageSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """Lines of the log as people read them: progress bars collapsed, broken bytes replaced."""
        instance, asked = self.instance(request, pk), self.asked(serializers.LogQuery, request)
        if "tail" in asked:
            before = selectors.cursor_get(asked["before"]) if asked.get("before") else None
            page = selectors.log_tail(instance=instance, lines=asked["tail"], before=before)
        else:
            after = selectors.cursor_get(asked["after"])
            page = selectors.log_lines(instance=instance, after=after, limit=asked["limit"])
        body = page.frame()
        body.pop("type")
        answer = {**body, "left_out": page.left_out, "next": str(page.next), "more": page.more}
        return Response(answer)


class BytesRenderer(BaseRenderer):
    """So that ``Accept: text/plain`` is served; an error still comes as JSON."""

    media_type = "text/plain"
    format = "txt"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None
    ) -> bytes:
        return bytes(JSONRenderer().render(data))


class EventStreamRenderer(BytesRenderer):
    """So that a browser's EventSource is served."""

    media_type = "text/event-stream"
    format = "sse"


class JobLogStream(_Job):
    needs: ClassVar[Needs] = {"get": None}
    renderer_classes = [EventStreamRenderer, JSONRenderer]

    @extend_schema(
        parameters=[serializers.StreamQuery],
        responses={(200, "text/event-stream"): OpenApiTypes.STR},
    )
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        """Server-sent events: what lies behind the cursor, then live. `id` is the cursor to resume from."""
        instance, asked = self.instance(request, pk), self.asked(serializers.StreamQuery, request)
        after = request.headers.get("Last-Event-ID") or asked["after"]
        log_after, _comma, metric_after = after.partition(",")
        return streaming.events_response(
            instance=instance,
            user=request.user,
            log_after=selectors.cursor_get(log_after),
            metric_after=selectors.cursor_get(metric_after),
        )


class JobSamples(_Job):
    needs: ClassVar[Needs] = {"get": None}

    @extend_schema(parameters=[serializers.SampleQuery], responses=serializers.SamplePageSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """Readings of the machine and the job's own cards while its current attempt ran."""
        instance, asked = self.instance(request, pk), self.asked(serializers.SampleQuery, request)
        rows = readings.sample_list(
            instance=instance, since=asked.get("since"), limit=asked["limit"]
        )
        return Response({"rows": rows})
