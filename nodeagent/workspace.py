"""A job's folder on the node, opened as if its job were hostile.

A job can put anything into its folder at any moment: a link from console.log to /etc/shadow, a FIFO
that hangs whoever opens it, a folder swapped for a link between two looks. So everything in it is
opened component by component relative to a directory descriptor, never through a link, never
blocking, and only regular files are handed out. Tail, file service and manifest all use this module.
"""

import errno
import logging
import os
import secrets
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import msgspec

from nodeagent.contract import paths

log = logging.getLogger(__name__)

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SUBFOLDERS = ("output", "control", "inputs", "work", "run", "tmp")
SECRETS_FILE = "secrets.json"  # below run; see paths.SECRETS
MAX_DEPTH = 32
MAX_FILES = 50_000  # of a manifest, which travels as one report
MAX_ENTRIES = 500_000  # looked at on a walk, folders and skipped things included


class UnsafePath(OSError):
    """The path leaves the folder, goes through a link, or ends at something that is no regular file."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A regular file met on a walk; path is relative, with forward slashes. inode tells a replaced file."""

    path: str
    size_bytes: int
    modified_ns: int
    inode: int


class Walk(msgspec.Struct, kw_only=True):
    """What a walk gathered. skipped counts links, FIFOs, sockets, devices, folders too deep or closed to us,
    names that are no UTF-8 or have control characters, and 1 for whatever lies behind MAX_FILES or MAX_ENTRIES.
    """

    files: list[Found] = []
    skipped: int = 0
    looked_at: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.files) >= MAX_FILES or self.looked_at >= MAX_ENTRIES


def parts_of(relative: str) -> list[str]:
    """The components of a relative path. Raises UnsafePath for anything that could lead out."""
    parts = relative.split("/")
    if "\x00" in relative or any(part in {"", ".", ".."} for part in parts):
        raise UnsafePath(errno.EINVAL, "not a plain relative path", relative)
    return parts


def _open_component(name: str, flags: int, parent: int, relative: str) -> int:
    try:
        return os.open(name, flags, dir_fd=parent)
    except OSError as error:
        # ELOOP: a link; ENXIO: a socket, or a FIFO; ENOTDIR: a file or a link in the middle
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENOTDIR}:
            raise UnsafePath(error.errno, "a link or no regular file", relative) from error
        raise


def open_below(root: Path, relative: str) -> int:
    """A descriptor of the regular file at root/relative, read-only; the caller closes it.

    Raises FileNotFoundError, or UnsafePath. The root itself is the agent's own folder and trusted.
    """
    parts = parts_of(relative)
    try:
        folder = os.open(root, _FOLDER_FLAGS & ~os.O_NOFOLLOW)
    except NotADirectoryError as error:
        raise UnsafePath(error.errno, "no folder", str(root)) from error
    try:
        for name in parts[:-1]:
            deeper = _open_component(name, _FOLDER_FLAGS, folder, relative)
            os.close(folder)
            folder = deeper
        found = _open_component(parts[-1], _FILE_FLAGS, folder, relative)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise UnsafePath(errno.EINVAL, "no regular file", relative)
    return found


@contextmanager
def opened(root: Path, relative: str) -> Iterator[int]:
    """`open_below`, closed at the end of the block."""
    descriptor = open_below(root, relative)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_small(root: Path, relative: str, *, limit: int = 65_536) -> bytes:
    """The first ``limit`` bytes of a small file."""
    with opened(root, relative) as descriptor:
        return os.pread(descriptor, limit, 0)


def _walk_folder(descriptor: int, prefix: str, depth: int, into: Walk) -> None:
    with os.scandir(descriptor) as entries:
        names = sorted(entry.name for entry in islice(entries, MAX_ENTRIES - into.looked_at + 1))
    for name in names:
        if into.is_full:
            into.skipped += 1
            return
        into.looked_at += 1
        try:
            known = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except FileNotFoundError:
            continue  # gone since the listing: a trainer rotates its checkpoints
        except OSError:
            into.skipped += 1  # a folder that lets its names be listed, but not looked at
            continue
        path = f"{prefix}{name}"
        if not _is_text(name):
            into.skipped += 1
        elif stat.S_ISREG(known.st_mode):
            into.files.append(_found(path, known))
        elif stat.S_ISDIR(known.st_mode) and depth < MAX_DEPTH:
            _walk_deeper(descriptor, name, f"{path}/", depth, into)
        else:
            into.skipped += 1


def _is_text(name: str) -> bool:
    """Whether it is UTF-8 on one line: os gives other bytes as lone surrogates, which no report can carry,
    and a name with a line break can be signed for nobody.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return all(ord(letter) >= 32 for letter in name)  # noqa: PLR2004 - control characters


def _found(path: str, known: os.stat_result) -> Found:
    return Found(
        path=path, size_bytes=known.st_size, modified_ns=known.st_mtime_ns, inode=known.st_ino
    )


def _walk_deeper(parent: int, name: str, prefix: str, depth: int, into: Walk) -> None:
    try:
        folder = _open_component(name, _FOLDER_FLAGS, parent, prefix)
    except FileNotFoundError:
        return
    except OSError:
        into.skipped += 1  # swapped for a link or closed to us; counted, as the manifest says
        return
    try:
        _walk_folder(folder, prefix, depth + 1, into)
    finally:
        os.close(folder)


def folder_bytes(root: Path) -> int:
    """What a job's folder takes on the disk, its inputs left out: allocated blocks, each file once.

    At most MAX_ENTRIES are looked at; links are not followed.
    """
    try:
        descriptor = os.open(root, _FOLDER_FLAGS)
    except OSError:
        return 0  # the job removed its own folder
    try:
        return _blocks_below(descriptor, skip={"inputs"}) * 512
    finally:
        os.close(descriptor)


def _blocks_below(descriptor: int, *, skip: set[str]) -> int:
    """Blocks of 512 bytes; folders wait in a list, so that depth costs no descriptors."""
    seen: set[tuple[int, int]] = set()
    waiting: list[tuple[str, ...]] = [()]
    blocks = looked_at = 0
    while waiting and looked_at < MAX_ENTRIES:
        parts = waiting.pop()
        try:
            folder = _open_folder(descriptor, parts)
        except OSError:
            continue  # gone, closed to us, or a link by now
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in islice(entries, MAX_ENTRIES - looked_at)]
            looked_at += len(names)
            for name in names if parts else [name for name in names if name not in skip]:
                try:
                    known = os.stat(name, dir_fd=folder, follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISDIR(known.st_mode) and len(parts) < MAX_DEPTH:
                    waiting.append((*parts, name))
                elif stat.S_ISREG(known.st_mode) and (known.st_dev, known.st_ino) not in seen:
                    blocks += known.st_blocks
                    if known.st_nlink > 1:
                        seen.add((known.st_dev, known.st_ino))
        finally:
            os.close(folder)
    return blocks


def _open_folder(root: int, parts: tuple[str, ...]) -> int:
    folder = os.dup(root)
    for name in parts:
        try:
            deeper = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
        finally:
            os.close(folder)
        folder = deeper
    return folder


class JobFolder:
    """The folder of one attempt: console.log, events.jsonl, output/ and what the agent keeps beside them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def output(self) -> Path:
        return self.path / paths.OUTPUT_FOLDER

    @property
    def inputs(self) -> Path:
        return self.path / "inputs"

    @property
    def control(self) -> Path:
        return self.path / "control"

    @property
    def run(self) -> Path:
        """What shim and agent tell each other: pids, exit code."""
        return self.path / "run"

    @property
    def tmp(self) -> Path:
        """The job's temporary files, on disk beside what it leaves."""
        return self.path / "tmp"

    def create(self) -> None:
        """Make the folder and its parts; a second time changes nothing."""
        for name in _SUBFOLDERS:
            (self.path / name).mkdir(parents=True, exist_ok=True)

    def inputs_clear(self) -> None:
        """The job has ended: its copies of the training data go."""
        shutil.rmtree(self.inputs, ignore_errors=True)

    def open(self, relative: str) -> int:
        """See `open_below`."""
        return open_below(self.path, relative)

    def walk(self) -> Walk:
        """The files that belong to the job's result: the console, the events and all below output/."""
        result = Walk()
        for name in (paths.CONSOLE_FILE, paths.EVENTS_FILE):
            try:
                with opened(self.path, name) as descriptor:
                    known = os.fstat(descriptor)
            except FileNotFoundError:
                continue
            except OSError:
                result.skipped += 1
                continue
            result.files.append(_found(name, known))
        try:
            root = os.open(self.path, _FOLDER_FLAGS)
        except OSError:
            return result  # the job removed its own folder
        try:
            _walk_deeper(root, paths.OUTPUT_FOLDER, f"{paths.OUTPUT_FOLDER}/", 0, result)
        finally:
            os.close(root)
        return result

    def inputs_remove(self) -> str:
        """After the end: a dataset stays in the cache for a day, and no copy longer. What rm complained of."""
        return _run("rm", "-rf", "--one-file-system", "--", str(self.inputs))

    def secrets_put(self, data: bytes) -> None:
        """Leave the secrets that the training needs; before the start, so that nothing is planted."""
        self.secrets_remove()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.run / SECRETS_FILE, flags, 0o400)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)

    def secrets_remove(self) -> None:
        """After the end, whatever the job made of its folder."""
        try:
            folder = os.open(self.path, _FOLDER_FLAGS)
        except FileNotFoundError:
            return
        try:
            run = _open_component("run", _FOLDER_FLAGS, folder, "run")
            try:
                os.unlink(SECRETS_FILE, dir_fd=run)
            finally:
                os.close(run)
        except FileNotFoundError:
            return  # it had none
        finally:
            os.close(folder)

    def control_put(self, name: str) -> None:
        """Leave a control file (``save``, ``stop``) for the trainer's plugin."""
        folder = os.open(self.path, _FOLDER_FLAGS)
        try:
            control = _open_component("control", _FOLDER_FLAGS, folder, "control")
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                os.close(os.open(name, flags, 0o644, dir_fd=control))
            finally:
                os.close(control)
        finally:
            os.close(folder)


class Workspace:
    """All job folders of this node: ``<folder>/jobs/<instance>/a<attempt>``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs = folder / "jobs"
        self.trash = folder / "trash"
        for path in (self.jobs, self.trash):
            path.mkdir(parents=True, exist_ok=True)

    def job(self, instance: int, attempt: int) -> JobFolder:
        return JobFolder(self.jobs / str(instance) / f"a{attempt}")

    def attempts(self) -> list[tuple[int, int]]:
        """(instance, attempt) of every job folder that lies here."""
        found = []
        for folder in self.jobs.glob("*/a*"):
            instance, attempt = folder.parent.name, folder.name[1:]
            if instance.isdecimal() and attempt.isdecimal():
                found.append((int(instance), int(attempt)))
        return sorted(found)

    def discard(self, instance: int, *, up_to: int) -> None:
        """Take an instance's folders, up to this attempt, out of sight at once; `trash_empty` deletes them."""
        for path in (self.jobs / str(instance)).glob("a*"):
            attempt = path.name[1:]
            if attempt.isdecimal() and int(attempt) <= up_to:
                path.rename(self.trash / f"{instance}-{path.name}-{secrets.token_hex(4)}")
        try:
            (self.jobs / str(instance)).rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # a later attempt's folder
                raise

    def trash_empty(self) -> None:
        """Delete what was discarded; what resists is told, and tried again next time.

        By rm, which follows no link, and ends with folders thousands deep, which shutil's recursion does not.
        """
        for path in self.trash.iterdir():
            if _run("rm", "-rf", "--one-file-system", "--", str(path)):
                # closed to us by its job: rm does not open what it may not enter
                _run("chmod", "-R", "u+rwX", "--", str(path))
                trouble = _run("rm", "-rf", "--one-file-system", "--", str(path))
                if trouble:
                    log.warning("%s stays in the trash: %s", path.name, trouble)


def _run(*argv: str) -> str:
    """What the program complained of; empty when all went well."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.stderr.decode(errors="replace")[:300] if done.returncode else ""
