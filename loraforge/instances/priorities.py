"""Priority classes. A row holds a number; all numbers of a class mean the same. Pure."""

from enum import StrEnum

PRIORITY_LIMIT = 100


class PriorityClass(StrEnum):
    """From the last to the first. Above normal only operators may raise."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"

    @property
    def number(self) -> int:
        """The number that stands for it."""
        return NUMBERS[self]

    @property
    def rank(self) -> int:
        """0 goes last."""
        return list(PriorityClass).index(self)


NUMBERS = {
    PriorityClass.LOW: -10,
    PriorityClass.NORMAL: 0,
    PriorityClass.HIGH: 10,
    PriorityClass.URGENT: 50,
}


def priority_class(number: int) -> PriorityClass:
    """The class of a number from -100 to 100."""
    if number < 0:
        return PriorityClass.LOW
    if number >= NUMBERS[PriorityClass.URGENT]:
        return PriorityClass.URGENT
    return PriorityClass.HIGH if number > 0 else PriorityClass.NORMAL
