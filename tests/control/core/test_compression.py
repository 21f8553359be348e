"""Pages and JSON leave compressed, streams as they are."""

from django.http import HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.test import RequestFactory

from loraforge.core.middleware import CompressMiddleware


def answered(response: HttpResponseBase) -> HttpResponseBase:
    request = RequestFactory().get("/", HTTP_ACCEPT_ENCODING="gzip, br")
    return CompressMiddleware(lambda _request: response)(request)  # type: ignore[return-value]


def test_pages_and_json_are_compressed() -> None:
    page = HttpResponse("<p>" + "word " * 200)
    rows = JsonResponse({"rows": ["row"] * 200})
    assert answered(page)["Content-Encoding"] == "gzip"
    assert answered(rows)["Content-Encoding"] == "gzip"


def test_streams_and_files_are_left_alone() -> None:
    live = StreamingHttpResponse(iter([b"data: 1\n\n"]), content_type="text/event-stream")
    file = HttpResponse(b"x" * 1000, content_type="application/octet-stream")
    assert not answered(live).has_header("Content-Encoding")
    assert not answered(file).has_header("Content-Encoding")
