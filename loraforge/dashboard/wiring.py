"""The words that lower floors show but do not know; imported once by AppConfig.ready()."""

from collections.abc import Mapping
from typing import Any

from loraforge.core import words
from loraforge.dashboard.explain import reason_words
from loraforge.scheduling.reasons import reason_text


def _said(reason: str, detail: Mapping[str, Any]) -> str:
    return reason_words(reason) or reason_text(reason=reason, detail=detail)


words.register(_said)
