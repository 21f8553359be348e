"""Which models nodes have, in the words in which wants ask for them. Pure."""

from collections.abc import Iterable


def model_wanted(*, hub: str | None, model: str | None, revision: str | None) -> str:
    """As `models_had` names it; empty for a folder of the node, which lies there or does not."""
    if not hub:
        return ""
    return f"{hub}:{model}@{revision}" if revision else f"{hub}:{model}"


def models_had(told: Iterable[str]) -> frozenset[str]:
    """What a node tells, with and without the revision: most jobs want the newest."""
    names = frozenset(told)
    return names | {name.rpartition("@")[0] for name in names}
