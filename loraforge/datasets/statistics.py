"""What a file's rows are like, counted while they are checked; memory stays bounded. Pure.

Tokens are an estimate: only the model's own tokenizer knows, and that is on a node. Letters of alphabets
count a quarter, others (Chinese, Japanese, ...) two thirds of a token.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

from loraforge.datasets.rowformats import Turn

ROLES_MAX = 12
TURNS_MOST = 64
# Upper ends of the histogram's classes, in estimated tokens; the last class is open.
TOKEN_CLASSES = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
_OF_ALPHABETS, _OF_OTHERS = 0.25, 0.65


class Statistics(msgspec.Struct, kw_only=True):
    """tokens: rows in each class of TOKEN_CLASSES. roles: turns of each role. turns: rows by number of turns.

    duplicates: rows whose turns stand in the file before, an estimate when is_estimate.
    """

    characters: int = 0
    tokens_sum: int = 0
    tokens_most: int = 0
    tokens: list[int] = []
    roles: dict[str, int] = {}
    turns: dict[str, int] = {}
    empty_answers: int = 0
    duplicates: int = 0
    is_estimate: bool = False


def tokens_estimate(text: str) -> float:
    """About how many tokens a text has."""
    if text.isascii():
        return len(text) * _OF_ALPHABETS
    wide = min(len(text), (len(text.encode("utf-8", "replace")) - len(text)) / 2)
    return (len(text) - wide) * _OF_ALPHABETS + wide * _OF_OTHERS


class Counting:
    """Add the turns of each row, then ask for `statistics`."""

    def __init__(self) -> None:
        self._classes = [0] * (len(TOKEN_CLASSES) + 1)
        self._roles: Counter[str] = Counter()
        self._turns: Counter[int] = Counter()
        self._made = Statistics()

    def add(self, turns: Iterable[Turn]) -> None:
        """Count one row."""
        tokens, count = 0.0, 0
        role = said = ""
        roles = self._roles
        for role, said in turns:
            roles[role] += 1
            count += 1
            self._made.characters += len(said)
            tokens += len(said) * _OF_ALPHABETS if said.isascii() else tokens_estimate(said)
        if role == "assistant" and not said.strip():
            self._made.empty_answers += 1
        self._turns[min(count, TURNS_MOST)] += 1
        whole = int(tokens) + 1
        self._made.tokens_sum += whole
        self._made.tokens_most = max(self._made.tokens_most, whole)
        self._classes[_class_of(whole)] += 1

    def statistics(self, *, duplicates: int, is_estimate: bool) -> Statistics:
        """All that was counted."""
        return msgspec.structs.replace(
            self._made,
            tokens=list(self._classes),
            roles=dict(self._roles.most_common(ROLES_MAX)),
            turns={str(number): rows for number, rows in sorted(self._turns.items())},
            duplicates=duplicates,
            is_estimate=is_estimate,
        )


def _class_of(tokens: int) -> int:
    """64 and less is the first class; each next one is twice as wide."""
    return min(max((tokens - 1).bit_length() - 6, 0), len(TOKEN_CLASSES))
