"""What reaches the log of what strangers send."""

import logging

from django.core.exceptions import DisallowedHost
from django.test import Client

from loraforge.core.redaction import StrangersFilter


def test_a_wrong_host_is_one_line_without_our_trace(client: Client) -> None:
    """Anybody may send one, as often as they like."""
    seen: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    handler = Kept()
    handler.addFilter(StrangersFilter())
    logger = logging.getLogger("django.security")
    logger.addHandler(handler)
    try:
        assert client.get("/healthz", headers={"host": "evil.example"}).status_code == 400
    finally:
        logger.removeHandler(handler)
    (record,) = seen
    assert record.exc_info is None
    assert record.levelno == logging.WARNING


def test_our_own_faults_keep_their_trace() -> None:
    fault = DisallowedHost()
    record = logging.LogRecord(
        "django.request", logging.ERROR, __file__, 1, "oh", (), (type(fault), fault, None)
    )
    assert StrangersFilter().filter(record)
    assert record.exc_info
    assert record.levelno == logging.ERROR
