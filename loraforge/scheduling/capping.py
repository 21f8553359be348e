"""How many may be active at once: which caps hold for a want, and how full they are. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loraforge.scheduling.facts import Caps, Reason, Running, Scope, Waits, Want
from loraforge.swift.jobs import TRAINING

# What is counted together: (scope, owner id or group name or None, kind, "" or a class)
Key = tuple[Scope, int | str | None, str]
# The setting for each person counts trainings by themselves, and all else by itself: no inference keeps a
# training from starting. Not names of kinds.
TRAININGS, OTHERS = "*trainings", "*others"
CLASSES = (TRAININGS, OTHERS)


def class_of(kinds: Sequence[str]) -> str:
    """What of the two it counts as; what says nothing of itself is a training."""
    commands = kinds[1:]
    return TRAININGS if not commands or any(one in TRAINING for one in commands) else OTHERS


@dataclass(frozen=True)
class Limit:
    """A cap that holds for a want."""

    key: Key
    limit: int

    @property
    def reason(self) -> Reason:
        """Why a want waits when it is full."""
        scope, _subject, kind = self.key
        if scope is Scope.ALL:
            return Reason.KIND_CAP if kind else Reason.GLOBAL_CAP
        return Reason.USER_CAP if scope is Scope.USER else Reason.GROUP_CAP


class Tally:
    """Counts who is active while one decision is made."""

    def __init__(self, caps: Caps, running: Iterable[Running]) -> None:
        self.caps = caps
        self._rules = {(rule.scope, rule.subject, rule.kind): rule.limit for rule in caps.rules}
        self._limits: dict[tuple[object, ...], tuple[Limit, ...]] = {}
        self.counts: Counter[Key] = Counter()
        for one in running:
            self._count(one.owner, one.groups, one.kinds)

    def add(self, want: Want) -> None:
        """It goes."""
        self._count(want.owner, want.groups, want.kinds)

    def _count(self, owner: int, groups: Sequence[str], kinds: Sequence[str]) -> None:
        self.counts.update(self.keys(owner, groups, kinds))

    def limits(self, want: Want) -> tuple[Limit, ...]:
        """All that hold for it: the owner's, then those of the owner's groups, then everybody's."""
        known = (want.owner, want.groups, want.kinds)
        if known not in self._limits:
            found = [(key, self._limit_of(key)) for key in self.keys(*known)]
            self._limits[known] = tuple(
                Limit(key, limit) for key, limit in found if limit is not None
            )
        return self._limits[known]

    def full(self, want: Want) -> Waits | None:
        """The first cap that lets it wait."""
        for limit in self.limits(want):
            running = self.counts[limit.key]
            if running >= limit.limit:
                _scope, subject, kind = limit.key
                detail = {"running": running, "cap": limit.limit}
                if kind and kind not in CLASSES:
                    detail["kind"] = kind  # type: ignore[assignment]
                if limit.reason is Reason.GROUP_CAP:
                    detail["group"] = subject  # type: ignore[assignment]
                return Waits(want.id, limit.reason, detail)
        return None

    def _limit_of(self, key: Key) -> int | None:
        scope, _subject, kind = key
        if kind in CLASSES:
            whole = self._limit_of((scope, key[1], ""))
            return self.caps.per_owner if whole is None else None
        found = self._rules.get(key)
        if found is None and scope is Scope.USER:
            found = self._rules.get((Scope.EACH_USER, None, kind))
        if found is None and scope is Scope.GROUP:
            found = self._rules.get((Scope.EACH_GROUP, None, kind))
        return self._by_setting(scope, kind) if found is None else found

    def _by_setting(self, scope: Scope, kind: str) -> int | None:
        if scope is Scope.ALL:
            return self.caps.per_kind.get(kind) if kind else self.caps.total
        # of a user `class_of` decides
        return None if kind or scope is Scope.USER else self.caps.per_group

    @staticmethod
    def keys(owner: int, groups: Sequence[str], kinds: Sequence[str]) -> list[Key]:
        """What it counts for: nearest first, and all kinds together before those of one."""
        every = ("", *kinds)
        return [
            *((Scope.USER, owner, kind) for kind in ("", class_of(kinds), *kinds)),
            *((Scope.GROUP, group, kind) for group in groups for kind in every),
            *((Scope.ALL, None, kind) for kind in every),
        ]
