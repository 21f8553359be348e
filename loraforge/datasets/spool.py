"""Files of unfinished uploads: one a upload, named by its id, in `settings.UPLOAD_FOLDER`."""

import errno
import fcntl
import hashlib
import os
import shutil
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.utils.translation import gettext as _

from loraforge.core.errors import Gone, Locked
from loraforge.datasets.rowcheck import index_path, rows_path


class SpooledFile(File):  # type: ignore[type-arg]
    """A finished file for the storage, which renames it where it can instead of copying it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.open("rb"), name=path.name)
        self._path = path

    def temporary_file_path(self) -> str:
        """Asked for by FileSystemStorage."""
        return str(self._path)


def locked_error() -> Locked:
    """Somebody else writes the upload."""
    return Locked(
        "datasets:upload_locked",
        _("Another request is writing this upload. Try again in a few seconds."),
    )


def spool_path(upload_id: UUID) -> Path:
    """Where the bytes of an upload lie until it is checked."""
    return Path(settings.UPLOAD_FOLDER) / str(upload_id)


def spool_create(upload_id: UUID) -> None:
    """Make the empty file, durably: once the client knows the upload, it survives a crash."""
    path = spool_path(upload_id)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def spool_delete(upload_id: UUID) -> None:
    """Remove what lies there; nothing there is fine."""
    path = spool_path(upload_id)
    for each in (path, rows_path(path), index_path(path)):
        each.unlink(missing_ok=True)
        moving_path(each).unlink(missing_ok=True)


def moving_path(path: Path) -> Path:
    """A second name of a file, which the storage may rename away while the first one stays."""
    return path.with_name(f"{path.name}.moving")


def storage_put(path: Path, name: str) -> str:
    """Give a file of the spool to the storage under this name; the spool keeps its own.

    A second try after a crash first removes what the first one left.
    """
    moving = moving_path(path)
    moving.unlink(missing_ok=True)
    moving.hardlink_to(path)
    default_storage.delete(name)
    with SpooledFile(moving) as file:
        return default_storage.save(name, file)


def storage_take(name: str, upload_id: UUID) -> None:
    """Put the bytes of a stored file into the spool once more, without copying where that can be."""
    path = spool_path(upload_id)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    try:
        path.hardlink_to(default_storage.path(name))
    except (NotImplementedError, OSError):  # a storage elsewhere, or on another disk
        with default_storage.open(name, "rb") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, 1024**2)


def free_bytes() -> int:
    """What is free on the disk of the upload folder."""
    folder = Path(settings.UPLOAD_FOLDER)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return shutil.disk_usage(folder).free


class SpoolWriter:
    """Appends to an upload's file from a known offset; whatever lay behind it is cut off first.

    Beside the row lock the file is locked too: a process that slept through the end of its row lock
    cannot write into its successor's bytes. Every method blocks, so call them in a thread.
    """

    def __init__(self, upload_id: UUID, *, offset_bytes: int, algorithm: str = "") -> None:
        """algorithm: a hashlib name, to hash what is written. Raises Locked, Gone."""
        try:
            self._file = os.open(spool_path(upload_id), os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise Gone(
                "datasets:upload_gone", _("The bytes of this upload are gone. Start it again.")
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            if error.errno in {errno.EAGAIN, errno.EACCES}:
                raise locked_error() from error
            raise
        self._hash = hashlib.new(algorithm) if algorithm else None
        self.offset_bytes = offset_bytes
        self.rewind(offset_bytes)

    def write(self, data: bytes) -> None:
        """Append. Raises OSError, for instance when the disk is full."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        self.offset_bytes += len(data)
        if self._hash is not None:
            self._hash.update(data)

    def sync(self) -> int:
        """Make all that was written durable; the offset up to which that holds."""
        os.fdatasync(self._file)
        return self.offset_bytes

    def rewind(self, offset_bytes: int) -> None:
        """Cut off what lies behind ``offset_bytes``."""
        os.ftruncate(self._file, offset_bytes)
        os.lseek(self._file, offset_bytes, os.SEEK_SET)
        self.offset_bytes = offset_bytes

    def digest(self) -> bytes:
        """The hash of what was written; only with an algorithm."""
        return self._hash.digest() if self._hash is not None else b""

    def close(self) -> None:
        """Free the file and its lock."""
        os.close(self._file)
