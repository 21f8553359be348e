"""Reading request bodies."""

from collections.abc import Mapping
from typing import IO, Any

import msgspec
from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from nodeagent.contract.reading import UNREADABLE


class StrictJsonParser(JSONParser):
    """JSON as the standard says: no NaN, no lone surrogates, no bottomless nesting; each a 400."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            return msgspec.json.decode(stream.read())
        except UNREADABLE as error:
            text = _("The body is not JSON: %(detail)s") % {"detail": str(error)[:200]}
            raise ParseError(text) from error
