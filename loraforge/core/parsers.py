"""Reading request bodies."""

from collections.abc import Mapping
from typing import IO, Any

import msgspec
from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from nodeagent.contract.reading import UNREADABLE

DEPTH_MAX = 300


class StrictJsonParser(JSONParser):
    """JSON as the standard says: no NaN, no lone surrogates, no bottomless nesting; each a 400."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            plain = msgspec.json.decode(stream.read())
        except UNREADABLE as error:
            text = _("The body is not JSON: %(detail)s") % {"detail": str(error)[:200]}
            raise ParseError(text) from error
        if _is_deeper(plain, DEPTH_MAX):
            text = _("The body is nested deeper than %(limit)s levels.") % {"limit": DEPTH_MAX}
            raise ParseError(text)
        return plain


def _is_deeper(plain: object, levels: int) -> bool:
    """Level by level, without recursion: what walks a body later may take two calls a level."""
    level = [plain] if isinstance(plain, dict | list) else []
    for _number in range(levels):
        parts = (part.values() if isinstance(part, dict) else part for part in level)
        level = [one for part in parts for one in part if isinstance(one, dict | list)]
        if not level:
            return False
    return True
