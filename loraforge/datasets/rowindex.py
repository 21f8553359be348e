"""Beside each checked file: where its rows begin, and a hash of each, to find rows again in bounded time.

One file: a header, the offsets of every ``stride``-th row, the hashes in ascending order. Of more than
HASHES_MAX rows only the hashes that are divisible by a power of two are kept: of two files with the same
row both keep it or neither does, so a count among them stands for all.
"""

import hashlib
import io
import mmap
import struct
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import IO, Any

from loraforge.datasets.rowformats import Turn

OFFSETS_MAX = 4096
HASHES_MAX = 5_000_000
PROBES_MAX = 20_000  # hashes of the smaller file that are looked for in the larger one
_HEADER = struct.Struct("<8sQQQQ")  # magic, stride, thinning, offsets, hashes
_MAGIC = b"LFINDEX1"
_SHELVES = 256


class IndexBroken(ValueError):
    """No index, or one of another version."""


def row_hash(turns: Iterable[Turn]) -> int:
    """64 bits of what a row says, whatever its columns, spaces and order of keys."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update("\x1f".join([one for turn in turns for one in turn]).encode("utf-8", "replace"))
    return int.from_bytes(digest.digest(), "little")


class IndexMaker:
    """Add each row in its order, then `write`."""

    def __init__(self, *, hashes_max: int = HASHES_MAX) -> None:
        self._stride = 1
        self._rows = 0
        self._offsets = array("Q")
        self._shelves = [array("Q") for _shelf in range(_SHELVES)]
        self._kept = 0
        self._thinning = 1
        self._hashes_max = hashes_max

    def add(self, offset: int, hashed: int) -> None:
        """A row that begins at this byte."""
        if self._rows % self._stride == 0:
            self._offsets.append(offset)
            if len(self._offsets) > OFFSETS_MAX:
                self._offsets = self._offsets[::2]
                self._stride *= 2
        self._rows += 1
        if hashed % self._thinning == 0:
            self._shelves[hashed >> 56].append(hashed)
            self._kept += 1
            if self._kept > self._hashes_max:
                self._thin()

    def _thin(self) -> None:
        self._thinning *= 2
        for number, shelf in enumerate(self._shelves):
            self._shelves[number] = array("Q", (one for one in shelf if one % self._thinning == 0))
        self._kept = sum(map(len, self._shelves))

    @property
    def is_estimate(self) -> bool:
        """Whether not all hashes are kept."""
        return self._thinning > 1

    def write(self, file: IO[bytes]) -> int:
        """Write it; how many rows are there a second time."""
        header = (_MAGIC, self._stride, self._thinning, len(self._offsets), self._kept)
        file.write(_HEADER.pack(*header))
        file.write(self._offsets.tobytes())
        doubles = 0
        for shelf in self._shelves:
            counts = Counter(shelf)  # one row a million times over is one number
            doubles += len(shelf) - len(counts)
            every = (one for one in sorted(counts) for _copy in range(counts[one]))
            file.write(array("Q", every).tobytes())
        return doubles * self._thinning


class Index:
    """An index that was written; reads only what it needs where the file is one of the system."""

    def __init__(self, file: Any) -> None:
        """Raises IndexBroken."""
        self._bytes = _bytes_of(file)
        try:
            magic, self.stride, self.thinning, offsets, hashes = _HEADER.unpack_from(self._bytes)
            body = memoryview(self._bytes)[_HEADER.size :].cast("Q")
        except (struct.error, TypeError) as error:
            raise IndexBroken(str(error)) from error
        if magic != _MAGIC or len(body) != offsets + hashes:
            raise IndexBroken(str(magic))
        self.offsets: Sequence[int] = body[:offsets]
        self.hashes: Sequence[int] = body[offsets:]

    def nearest(self, row: int) -> tuple[int, int]:
        """(number, offset) of the last indexed row that is not behind ``row``."""
        if not self.offsets:
            return 0, 0
        place = min(row // self.stride, len(self.offsets) - 1)
        return place * self.stride, self.offsets[place]


def _bytes_of(file: Any) -> Any:
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (AttributeError, ValueError, io.UnsupportedOperation, OSError):
        return file.read()  # a storage elsewhere


def rows_shared(few: Index, many: Index) -> tuple[int, bool]:
    """How many rows of ``few`` stand in ``many`` too, and whether that is an estimate."""
    thinning = max(few.thinning, many.thinning)
    wanted = []
    for one in few.hashes:
        if one % thinning == 0:
            wanted.append(one)
            if len(wanted) == PROBES_MAX:
                break
    if not wanted:
        return 0, thinning > 1
    found = 0
    for one in wanted:
        place = bisect_left(many.hashes, one)
        found += place < len(many.hashes) and many.hashes[place] == one
    rows = len(few.hashes) * few.thinning
    is_estimate = thinning > 1 or len(wanted) < len(few.hashes)
    return round(found / len(wanted) * rows), is_estimate
