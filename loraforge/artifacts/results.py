"""Which of a job's files are its result: kept on the control plane whatever becomes of the node. Pure.

Small things first, then what a job that does not train was for, then weights, then what only a resume
needs. A checkpoint's weights are useless by halves, so they are one piece, as is a folder of results: where
the next piece does not fit any more, smaller ones behind it may.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from loraforge.artifacts.checkpoints import is_needed
from loraforge.artifacts.roles import Role, checkpoint_of, result_of, role_of
from nodeagent.contract import paths

# (attempt, folder) of a checkpoint
Folder = tuple[int, str]

_WEIGHTS_FIRST, _STATES_LAST = 2, 4  # in the order of pieces
_SMALL = frozenset({Role.LOG, Role.METRICS, Role.ARGUMENTS})
_WEIGHTS = frozenset({Role.ADAPTER, Role.WEIGHTS})
_RESULTS = -2  # before weights that lie anywhere else


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A file that could be kept; path is relative to the attempt's folder."""

    file_id: int
    attempt: int
    path: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Ids of files in the order in which they are to be copied, and of those that did not fit."""

    kept: list[int]
    too_large: list[int]


def results_select(
    candidates: Iterable[Candidate],
    *,
    last_attempt: int,
    checkpoints: Iterable[Folder],
    max_bytes: int,
) -> Selection:
    """What to keep of these files, at most ``max_bytes``.

    last_attempt: the one that ended last. checkpoints: those to keep, the most wanted first.
    """
    wanted = list(dict.fromkeys(checkpoints))
    pieces: dict[tuple[int, ...], list[Candidate]] = defaultdict(list)
    for one in candidates:
        place = _place(one, last_attempt=last_attempt, checkpoints=wanted)
        if place is not None:
            pieces[place].append(one)
    kept: list[int] = []
    too_large: list[int] = []
    left = max_bytes
    given_up: set[tuple[int, ...]] = set()
    for place in sorted(pieces):
        piece = sorted(pieces[place], key=lambda one: one.path)
        size = sum(one.size_bytes for one in piece)
        # states of a resume are nothing without the weights that they belong to
        if size > left and place[0] == _WEIGHTS_FIRST:
            given_up.add((_STATES_LAST, *place[1:]))
        if size <= left and place not in given_up:
            left -= size
            kept += [one.file_id for one in piece]
        else:
            too_large += [one.file_id for one in piece]
    return Selection(kept=kept, too_large=too_large)


def _place(
    one: Candidate, *, last_attempt: int, checkpoints: list[Folder]
) -> tuple[int, ...] | None:
    """Where its piece stands in the order; None = it is no result."""
    folder = checkpoint_of(one.path)
    role = role_of(one.path)
    if folder is None and role in _SMALL:
        is_console = one.path == paths.CONSOLE_FILE
        return (3 if one.attempt != last_attempt else int(is_console), -one.attempt, one.file_id)
    if folder is None and role is Role.RESULT:
        # a folder of results is useless by halves, as weights are
        whole = zlib.crc32((result_of(one.path) or "").encode())
        return (_WEIGHTS_FIRST, _RESULTS, whole) if one.attempt == last_attempt else None
    if folder is None:
        # weights outside of any checkpoint: what a command leaves at its end
        return (_WEIGHTS_FIRST, -1) if role in _WEIGHTS and one.attempt == last_attempt else None
    key = (one.attempt, folder[0])
    if key not in checkpoints:
        return None
    inside = one.path.removeprefix(f"{folder[0]}/")
    rank = _WEIGHTS_FIRST if is_needed(inside, weights_only=True) else _STATES_LAST
    return (rank, checkpoints.index(key))
