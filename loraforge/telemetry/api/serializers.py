"""Shapes of answers, and checks of what is asked."""

from typing import Any

from rest_framework import serializers

from loraforge.core.api import WholeField
from loraforge.telemetry.selectors import CHART_POINTS, LINES_MAX, ROWS_MAX, SAMPLES_MAX

Plain = dict[str, Any]


class LogQuery(serializers.Serializer[Plain]):
    """Forward from `after`, or with `tail` the last lines (before `before`)."""

    after = serializers.CharField(
        default="", allow_blank=True, help_text="Cursor; empty = from the beginning."
    )
    limit = WholeField(default=1_000, min_value=1, max_value=LINES_MAX)
    tail = WholeField(required=False, min_value=1, max_value=LINES_MAX)
    before = serializers.CharField(
        required=False, help_text="Cursor; with tail: the lines before it."
    )


class LogPageSerializer(serializers.Serializer[Plain]):
    """Complete lines of one attempt at bytes [from, to) of its console.log."""

    attempt = serializers.IntegerField()
    lines = serializers.ListField(child=serializers.CharField())
    next = serializers.CharField(help_text="Cursor for `after`.")
    more = serializers.BooleanField(
        help_text="There are more at once: behind `next`, or with tail before `from`."
    )

    def get_fields(self) -> dict[str, Any]:
        """`from` is a word of Python, `partial` one of DRF."""
        return {
            **super().get_fields(),
            "from": serializers.IntegerField(),
            "to": serializers.IntegerField(),
            "left_out": serializers.IntegerField(
                help_text="So many lines lie here, over the rate caps; only the file has them."
            ),
            "partial": serializers.CharField(
                help_text="The unfinished line, such as a progress bar."
            ),
        }


class MetricQuery(serializers.Serializer[Plain]):
    """Rows from `after` on, or with `points` whole series thinned for a chart."""

    after = serializers.CharField(
        default="", allow_blank=True, help_text="Cursor; empty = from the beginning."
    )
    limit = WholeField(default=500, min_value=1, max_value=ROWS_MAX)
    points = WholeField(
        required=False, min_value=10, max_value=CHART_POINTS, help_text="Answer series, not rows."
    )


class MetricRowSerializer(serializers.Serializer[Plain]):
    """One line of SWIFT's logging.jsonl at bytes [from, to)."""

    attempt = serializers.IntegerField()
    step = serializers.IntegerField(allow_null=True)
    at = serializers.DateTimeField()
    values = serializers.DictField()

    def get_fields(self) -> dict[str, Any]:
        """`from` is a word of Python."""
        return {
            **super().get_fields(),
            "from": serializers.IntegerField(),
            "to": serializers.IntegerField(),
        }


class MetricPageSerializer(serializers.Serializer[Plain]):
    """rows and the cursor behind them; with `points`: series, name -> [[step, value], ...]."""

    rows = MetricRowSerializer(many=True, required=False)
    series = serializers.DictField(
        child=serializers.ListField(child=serializers.ListField(child=serializers.FloatField())),
        required=False,
    )
    next = serializers.CharField()
    more = serializers.BooleanField()


class SampleQuery(serializers.Serializer[Plain]):
    """The newest `limit` readings of the current attempt, not before `since`."""

    since = serializers.DateTimeField(required=False)
    limit = WholeField(default=300, min_value=1, max_value=SAMPLES_MAX)


class SampleRowSerializer(serializers.Serializer[Plain]):
    """One reading, as in the rows of a live gpu frame."""

    node = serializers.CharField()
    at = serializers.DateTimeField()
    host = serializers.DictField()
    gpus = serializers.ListField(child=serializers.DictField())
    attempt = serializers.IntegerField()
    job = serializers.DictField(allow_null=True)


class SamplePageSerializer(serializers.Serializer[Plain]):
    """Oldest first."""

    rows = SampleRowSerializer(many=True)


class DownloadQuery(serializers.Serializer[Plain]):
    """Which attempt's console.log; the last one by default."""

    attempt = WholeField(required=False, min_value=1)


class StreamQuery(serializers.Serializer[Plain]):
    """Where to begin; the header Last-Event-ID stands above it."""

    after = serializers.CharField(
        default="", allow_blank=True, help_text="Cursor of the log, or `<log>,<metric>`."
    )
