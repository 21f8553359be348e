"""What a budget may do, and how full it may be. Pure."""

from enum import StrEnum


class AtLimit(StrEnum):
    """What happens when a budget is used up."""

    WARN = "warn"
    BLOCK = "block"
    STOP = "stop"


class Level(StrEnum):
    """How much of a budget is used."""

    FINE = "fine"
    WARNING = "warning"
    FULL = "full"
