"""Pieces of a file as they come, and what of them is new. Pure."""

from collections.abc import Iterable
from typing import NamedTuple


class Piece(NamedTuple):
    """Bytes of a file at [start, end). left_out: instead of data, how many lines of a log are not sent."""

    start: int
    end: int
    data: bytes
    left_out: int | None = None


def joined(pieces: Iterable[Piece], end: int) -> tuple[list[Piece], bool]:
    """What is new behind ``end``, neighbouring bytes as one, and whether a piece began too late."""
    runs: list[Piece] = []
    fresh: list[bytes] = []
    begin, is_gap = end, False
    for piece in pieces:
        _check(piece)
        if piece.start > end or (piece.left_out is not None and piece.start < end < piece.end):
            is_gap = True  # half of a gap has no number of lines: it is asked for again from here
        elif piece.end > end and piece.left_out is None:
            fresh.append(piece.data[end - piece.start :])
            end, is_gap = piece.end, False
        elif piece.end > end:
            if fresh:
                runs.append(Piece(begin, end, b"".join(fresh)))
            runs.append(piece)
            fresh = []
            begin = end = piece.end
            is_gap = False
    if fresh:
        runs.append(Piece(begin, end, b"".join(fresh)))
    return runs, is_gap


def _check(piece: Piece) -> None:
    length = piece.end - piece.start
    is_sound = length == len(piece.data) if piece.left_out is None else length > 0 <= piece.left_out
    if not is_sound or piece.start < 0:
        message = f"[{piece.start}, {piece.end}) cannot hold {len(piece.data)} bytes"
        raise ValueError(message)
