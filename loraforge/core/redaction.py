"""Secrets never reach a log: tokens, passwords and keys are masked wherever they look like one."""

import logging
import re

_PATTERNS = [
    re.compile(r"(?i)(authorization:\s*(?:bearer|token)\s+)\S+"),
    re.compile(r"(?i)\b((?:token|password|secret|api_key|sig)=)[^&\s\"']+"),
    re.compile(r"\b(hf_|ms-|lfp_|lfn_|sk-)[A-Za-z0-9_\-]{12,}"),
    re.compile(r"(?i)(://[^:/@\s]*:)[^@/\s]+(?=@)"),
]


def redact(text: str) -> str:
    """The text with whatever looks like a secret replaced by ***."""
    for pattern in _PATTERNS:
        text = pattern.sub(lambda found: f"{found.group(1)}***", text)
    return text


class RedactionFilter(logging.Filter):
    """Masks secrets and escapes line breaks of arguments, so that a log line stays one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrites the record; never drops it."""
        message = record.getMessage()
        record.msg = redact(message).replace("\r", "\\r").replace("\n", "\\n")
        record.args = ()
        return True


class StrangersFilter(logging.Filter):
    """What Django calls suspicious, such as a wrong Host, is the sender's doing: one line, without our trace."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrites the record; never drops it."""
        if record.name.startswith("django.security."):
            record.exc_info = None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True
