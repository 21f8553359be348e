"""What the caches of this node may keep: a cap, a tenth of the disk free, the longest unused goes first.

What a live attempt was given, or was used in the last minutes, never goes. A dataset that was uploaded
goes when it is deleted, or a day after its last job, whatever room there is. One use = the moment of the
file or marker.
"""

import logging
import re
import secrets
import shutil
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nodeagent.journal import Record

log = logging.getLogger(__name__)

EVERY_S = 600.0
YOUNG_S = 600.0
INPUT_KEPT_S = 24 * 3600.0
FREE_PART = 0.10
TOLD_EVERY_S = 60.0
TOLD_MOST = 200
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
WHOLE = ".whole"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Something in a cache. mark: the file whose moment tells its last use, gone first."""

    path: Path
    mark: Path
    size_bytes: int
    used_at: float


def whole_mark(place: Path, revision: str) -> None:
    """Say that this revision is whole, and used now."""
    mark = place / f"{revision}{WHOLE}"
    if not mark.exists():
        folder = place / revision
        size = sum(one.lstat().st_size for one in folder.rglob("*") if not one.is_dir())
        mark.write_text(str(size), encoding="ascii")
    mark.touch()


def _model_name(mark: Path) -> str:
    """As the contract has it; empty for a name too long to be read back. See `hub` for the folders."""
    name, _sub, subfolder = mark.parent.name.partition("@@")
    if subfolder.startswith("@"):
        return ""
    repo = name.replace("@", "/") + (":" + subfolder.replace("@", "/") if subfolder else "")
    return f"{mark.parents[2].name}:{repo}@{mark.name.removesuffix(WHOLE)}"


class Caches:
    """Thread-safe. folder: `Settings.cache`. cap_bytes: of all of it, 0 = as much as the disk allows.

    live: the records of attempts that have not ended; set once there is somebody who knows them.
    """

    def __init__(self, *, folder: Path, cap_bytes: int = 0) -> None:
        self.folder = folder
        self.live: Callable[[], Iterable[Record]] = tuple
        self._cap_bytes = cap_bytes
        self._trash = folder / "trash"
        self._told_at = -TOLD_EVERY_S
        self._told_last = ""
        self._models_at = -TOLD_EVERY_S
        self._models_last: list[str] | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="caches", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            try:
                self.sweep()
            except Exception:
                # a file that cannot be looked at now; the next round tries again
                log.exception("the caches could not be swept")

    def sweep(self) -> None:
        """Let go of what has had its time, and of what is too much."""
        now = time.time()
        with self._lock:
            for entry in self._entries(held=self._held()):
                if self._is_input(entry) and now - entry.used_at >= INPUT_KEPT_S:
                    self._remove(entry)
        self.make_room(0)

    def inputs_told(self) -> list[str]:
        """Hashes of inputs that lie here, for a heartbeat: once a minute, and all in their turn."""
        now = time.monotonic()
        if now - self._told_at < TOLD_EVERY_S:
            return []
        self._told_at = now
        names = sorted(
            path.name for path in (self.folder / "inputs").glob("*") if _SHA256.match(path.name)
        )
        rest = [name for name in names if name > self._told_last]
        found = (rest or names)[:TOLD_MOST]
        self._told_last = found[-1] if found else ""
        return found

    def models_told(self) -> list[str] | None:
        """Models that lie here for any job, for a heartbeat: when they have changed, and once a minute."""
        found = sorted(
            filter(
                None, map(_model_name, (self.folder / "hub" / "public").glob(f"*/model/*/*{WHOLE}"))
            )
        )[:TOLD_MOST]
        now = time.monotonic()
        if found == self._models_last and now - self._models_at < TOLD_EVERY_S:
            return None
        self._models_at, self._models_last = now, found
        return found

    def discard(self, hashes: list[str]) -> None:
        """Let go of these inputs, unless a live attempt was given them."""
        with self._lock:
            for entry in self._entries(held=self._held()):
                if self._is_input(entry) and entry.path.stem in hashes:
                    self._remove(entry)

    def make_room(self, wanted_bytes: int) -> None:
        """Let go of what was unused longest, until so many bytes fit; less when there is no more to go."""
        with self._lock:
            entries = sorted(self._entries(held=self._held()), key=lambda entry: entry.used_at)
            kept_bytes = self._size()
            for entry in entries:
                disk = shutil.disk_usage(self.folder)
                fits = disk.free - wanted_bytes >= disk.total * FREE_PART
                if fits and not (self._cap_bytes and kept_bytes + wanted_bytes > self._cap_bytes):
                    return
                if time.time() - entry.used_at < YOUNG_S:
                    return
                self._remove(entry)
                kept_bytes -= entry.size_bytes

    def _held(self) -> set[Path]:
        held = set()
        for record in self.live():
            held |= {Path(path) for path in record.fetched.values()}
            inputs = record.spec.inputs if record.spec is not None else []
            held |= {self.folder / "inputs" / one.sha256.lower() for one in inputs}
        return held

    def _size(self) -> int:
        return sum(entry.size_bytes for entry in self._entries(held=set()))

    def _entries(self, *, held: set[Path]) -> list[Entry]:
        found = []
        for path in (self.folder / "inputs").glob("*"):
            if path not in held and path.with_suffix("") not in held:
                known = path.stat()
                found.append(
                    Entry(path=path, mark=path, size_bytes=known.st_size, used_at=known.st_mtime)
                )
        for mark in (self.folder / "hub").glob(f"*/*/*/*/*{WHOLE}"):
            path = mark.with_name(mark.name.removesuffix(WHOLE))
            # a subfolder is given to a job, its revision is kept or goes as one
            if not any(one.is_relative_to(path) for one in held):
                size = int(mark.read_text(encoding="ascii") or 0)
                used_at = mark.stat().st_mtime
                found.append(Entry(path=path, mark=mark, size_bytes=size, used_at=used_at))
        return found

    def _is_input(self, entry: Entry) -> bool:
        return entry.path.parent == self.folder / "inputs"

    def _remove(self, entry: Entry) -> None:
        """At once out of sight; whoever has a file of it open reads on."""
        log.info("cache: %s goes (%.1f MB)", entry.path.name, entry.size_bytes / 1e6)
        self._trash.mkdir(exist_ok=True)
        out = self._trash / secrets.token_hex(8)
        entry.path.rename(out)
        if entry.mark != entry.path:
            entry.mark.unlink()
        if out.is_dir():
            shutil.rmtree(out)
        else:
            out.unlink()
