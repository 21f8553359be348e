"""When the files of an instance go. Pure: facts and a moment in, verdicts out.

Files go once their instance has ended for the retention time, unless somebody keeps it; never before its
owner was told a day ahead, and never while they are handed out.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from loraforge.instances.states import TERMINAL, State

TELL_AHEAD = timedelta(days=1)
NEAR = timedelta(days=2)


class Place(StrEnum):
    """A class of files, removed on its own."""

    NODE = "node"  # what the attempts left on their nodes


@dataclass(frozen=True)
class Rule:
    """kept_for: after the end of the instance; None = for ever."""

    kept_for: timedelta | None

    @property
    def tell_ahead(self) -> timedelta:
        """How long before the removal its owner is told."""
        return min(TELL_AHEAD, self.kept_for) if self.kept_for is not None else TELL_AHEAD


@dataclass(frozen=True)
class Facts:
    """What is known of an instance. told_at: when its owner was told of the coming removal, for this end.

    leased_until: somebody is handed its files at least until then.
    """

    state: State
    keep: bool
    ended_at: datetime | None
    told_at: datetime | None = None
    leased_until: datetime | None = None


def removal_at(facts: Facts, rule: Rule, *, now: datetime) -> datetime | None:
    """When the files go, as it stands; None = not by themselves."""
    if facts.state not in TERMINAL or facts.keep or facts.ended_at is None:
        return None
    if rule.kept_for is None:
        return None
    return max(facts.ended_at + rule.kept_for, (facts.told_at or now) + rule.tell_ahead)


def is_to_tell(facts: Facts, rule: Rule, *, now: datetime) -> bool:
    """True once its owner is to be told that the files go."""
    planned = removal_at(facts, rule, now=now)
    return planned is not None and facts.told_at is None and planned - rule.tell_ahead <= now


def is_due(facts: Facts, rule: Rule, *, now: datetime) -> bool:
    """True when the files may be removed now."""
    planned = removal_at(facts, rule, now=now)
    if planned is None or facts.told_at is None or planned > now:
        return False
    return facts.leased_until is None or facts.leased_until <= now


def is_near(facts: Facts, rule: Rule, *, now: datetime) -> bool:
    """True when a page should say so at first sight."""
    planned = removal_at(facts, rule, now=now)
    return planned is not None and planned - NEAR <= now
