"""Fetches the inputs of jobs: by HTTP with resume, verified by SHA-256, kept by their hash."""

import errno
import hashlib
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from nodeagent.contract.commands import Input
from nodeagent.transfer.local import copy_verified
from nodeagent.workspace import JobFolder, UnsafePath, Workspace, parts_of

log = logging.getLogger(__name__)

BLOCK_BYTES = 1024 * 1024
TRIES = 6
DEAF_S = 300.0
PEER_TIMEOUT = httpx.Timeout(30.0, connect=3.0)
RESERVE_BYTES = 64 * 1024 * 1024  # what stays free beside an input
INPUTS_PREFIX = "/lf/inputs/"
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class TransferFault(Exception):
    """An input cannot be had. ``reason`` is an ``area:what`` id, the text one line for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class SecretMissing(TransferFault):
    """The owner has no such secret, or not any more."""

    def __init__(self) -> None:
        super().__init__(
            "user:secret_missing",
            "The job needs a key that its owner has not stored on the account page.",
        )


class TransferCancelled(Exception):
    """The job was stopped while its inputs were fetched."""


class _Again(Exception):
    """This try failed in a way that another may not."""


class Fetcher:
    """The cache of inputs: ``<cache>/<sha256>``. Thread-safe; two jobs wanting one input fetch it once.

    workspace: where attempts of this node left what may be an input of a later one. make_room: asked
    before so many bytes come.
    """

    def __init__(
        self,
        *,
        server: str,
        token: str,
        cache: Path,
        workspace: Workspace | None = None,
        make_room: Callable[[int], None] = lambda _wanted: None,
        retry_s: float = 0.5,
    ) -> None:
        self._workspace = workspace
        self._make_room = make_room
        self._server = server
        self._cache = cache / "inputs"
        self._cache.mkdir(parents=True, exist_ok=True)
        self._retry_s = retry_s
        self._http = httpx.Client(
            timeout=httpx.Timeout(30.0, connect=10.0),
            headers={"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"},
        )
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._deaf_until: dict[str, float] = {}  # other nodes; by the monotonic clock

    def close(self) -> None:
        self._http.close()

    def place(self, wanted: Input, folder: JobFolder, *, cancelled: Callable[[], bool]) -> None:
        """Have the input at its target below the job's inputs. Raises TransferFault, TransferCancelled."""
        target = self._target(wanted, folder)
        _digest_check(wanted)
        with _disk_faults(wanted):
            if self._taken_from_disk(wanted, target, cancelled):
                return
            kept = self._cached(wanted, cancelled)
            target.parent.mkdir(parents=True, exist_ok=True)
            # a copy, not a hard link: a job may write to what it is given, and the cache is shared
            shutil.copyfile(kept, target)

    def stage(self, wanted: Input, *, cancelled: Callable[[], bool]) -> None:
        """Have it in the cache, for a start to come. Raises TransferFault, TransferCancelled."""
        _digest_check(wanted)
        with _disk_faults(wanted):
            self._cached(wanted, cancelled)

    def read_back(self, inputs: Iterable[Input], *, cancelled: Callable[[], bool]) -> list[str]:
        """What is in the cache for these, as SHA-256 of what the disk gives back now.

        A file that has gone bad is removed, so that it is fetched anew. Raises TransferFault,
        TransferCancelled.
        """
        found = []
        for wanted in inputs:
            kept = self._cache / wanted.sha256.lower()
            with _disk_faults(wanted):
                digest = _sha256(kept, cancelled)
            if digest != kept.name:
                kept.unlink(missing_ok=True)
                raise TransferFault("input:hash_mismatch", f"{wanted.target} has gone bad here.")
            found.append(digest)
        return found

    def _cached(self, wanted: Input, cancelled: Callable[[], bool]) -> Path:
        """Its file in the cache, whole and verified when it came."""
        digest = wanted.sha256.lower()
        with self._guard:
            lock = self._locks.setdefault(digest, threading.Lock())
        with lock:
            kept = self._cache / digest
            if not self._is_whole(kept, wanted.size_bytes):
                self._fetch(wanted, kept, cancelled)
            kept.touch()  # it is used now, which is what it is kept by
        return kept

    def _taken_from_disk(self, wanted: Input, target: Path, cancelled: Callable[[], bool]) -> bool:
        """Whether an earlier attempt's folder on this node gave it; raises OSError, TransferCancelled."""
        if wanted.source is None or self._workspace is None:
            return False
        left_by = self._workspace.job(wanted.source.instance, wanted.source.attempt)
        try:
            found = copy_verified(wanted, left_by, target, cancelled=cancelled)
        except UnsafePath as error:
            log.warning("input %s: %s; fetched instead", wanted.target, error)
            return False
        if cancelled():
            raise TransferCancelled
        return found

    def secret_get(self, url: str) -> bytes:
        """A secret of the job's owner; never written down here. Raises TransferFault."""
        for number in range(TRIES):
            try:
                answer = self._http.get(f"{self._server}{url}")
            except httpx.TransportError as error:
                log.warning("a secret: %s", error)
            else:
                if answer.is_success:
                    return answer.content
                if answer.status_code in {401, 403, 404, 410}:
                    raise SecretMissing
                log.warning("a secret: answer %d", answer.status_code)
            time.sleep(self._retry_s * 2**number)
        raise TransferFault(
            "input:unreachable", "The control plane does not answer with a secret of the owner."
        )

    def _target(self, wanted: Input, folder: JobFolder) -> Path:
        try:
            return folder.inputs.joinpath(*parts_of(wanted.target.removeprefix(INPUTS_PREFIX)))
        except UnsafePath as error:
            raise TransferFault(
                "input:bad_spec", f"{wanted.target} is no path below inputs."
            ) from error

    def _is_whole(self, kept: Path, size_bytes: int) -> bool:
        return kept.is_file() and kept.stat().st_size == size_bytes

    def _fetch(self, wanted: Input, kept: Path, cancelled: Callable[[], bool]) -> None:
        self._make_room(2 * wanted.size_bytes)
        free = shutil.disk_usage(self._cache).free
        if free < 2 * wanted.size_bytes + RESERVE_BYTES:
            raise TransferFault("node:disk_full", f"No room for {wanted.target}.")
        part = kept.with_suffix(".part")
        if self._fetched_from_peer(wanted, part, cancelled):
            part.replace(kept)
            return
        mismatches = 0
        for number in range(TRIES):
            try:
                self._fetch_rest(wanted, part, cancelled)
            except (_Again, httpx.TransportError) as error:
                log.warning("input %s: %s", wanted.target, error)
                self._pause(number, cancelled)
                continue
            if _sha256(part, cancelled) == kept.name:
                part.replace(kept)
                return
            part.unlink()
            mismatches += 1
            if mismatches > 1:  # once may have been a half-written rest of an earlier life
                break
        if mismatches == 0:
            raise TransferFault("input:unreachable", f"{wanted.target} could not be fetched.")
        raise TransferFault("input:hash_mismatch", f"{wanted.target} is not what was uploaded.")

    def _fetched_from_peer(self, wanted: Input, part: Path, cancelled: Callable[[], bool]) -> bool:
        """Whether the other node gave all of it, and it is that; whatever is amiss, the url has it too."""
        if wanted.peer is None:
            return False
        host = urlsplit(wanted.peer.url).netloc
        if self._deaf_until.get(host, 0.0) > time.monotonic():
            return False
        try:
            headers = {"Authorization": f"Bearer {wanted.peer.token}"}
            self._fetch_rest(wanted, part, cancelled, url=wanted.peer.url, headers=headers)
            if _sha256(part, cancelled) == wanted.sha256.lower():
                return True
            part.unlink()
            log.warning("input %s: the other node has other bytes", wanted.target)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            # no way there, and every other file of a checkpoint would wait for that anew
            self._deaf_until[host] = time.monotonic() + DEAF_S
            log.info("input %s: %s cannot be reached: %s", wanted.target, host, error)
        except (_Again, TransferFault, httpx.TransportError, httpx.InvalidURL) as error:
            log.info("input %s: not from the other node: %s", wanted.target, error)
        return False

    def _pause(self, number: int, cancelled: Callable[[], bool]) -> None:
        until = time.monotonic() + self._retry_s * 2**number
        while time.monotonic() < until:
            if cancelled():
                raise TransferCancelled
            time.sleep(0.05)

    def _fetch_rest(
        self,
        wanted: Input,
        part: Path,
        cancelled: Callable[[], bool],
        *,
        url: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """What is missing of it. url: another address than its own, with headers for it alone."""
        have = part.stat().st_size if part.exists() else 0
        if have > wanted.size_bytes:
            part.unlink()
            have = 0
        if have == wanted.size_bytes and have:
            return
        wanted_headers = {**(headers or {}), **({"Range": f"bytes={have}-"} if have else {})}
        address = url or f"{self._server}{wanted.url}"
        timeout = PEER_TIMEOUT if url else self._http.timeout
        with self._http.stream("GET", address, headers=wanted_headers, timeout=timeout) as answer:
            _judge(wanted, answer)
            resumed = have > 0 and answer.status_code == httpx.codes.PARTIAL_CONTENT
            with part.open("ab" if resumed else "wb") as out:
                for block in answer.iter_bytes():
                    if cancelled():
                        raise TransferCancelled
                    out.write(block)
                    if out.tell() > wanted.size_bytes:
                        raise TransferFault(
                            "input:hash_mismatch", f"{wanted.target} is longer than announced."
                        )
                out.flush()
                os.fsync(out.fileno())
        if part.stat().st_size < wanted.size_bytes:
            raise _Again("the answer ended early")


def _digest_check(wanted: Input) -> None:
    if not _SHA256.match(wanted.sha256.lower()):
        raise TransferFault("input:bad_spec", f"{wanted.target} has no SHA-256.")


@contextmanager
def _disk_faults(wanted: Input) -> Iterator[None]:
    """An OSError as a TransferFault."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            raise TransferFault("node:disk_full", f"No room for {wanted.target}.") from error
        raise TransferFault("node:disk_error", f"{wanted.target}: {error}") from error


def _judge(wanted: Input, answer: httpx.Response) -> None:
    if answer.is_success:
        return
    status = answer.status_code
    if status in {404, 410}:
        raise TransferFault("input:not_found", f"{wanted.target} is not there any more.")
    if status in {401, 403}:
        raise TransferFault("input:forbidden", f"{wanted.target}: this node may not have it.")
    raise _Again(f"answer {status}")


def _sha256(path: Path, cancelled: Callable[[], bool]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while block := source.read(BLOCK_BYTES):
            if cancelled():
                raise TransferCancelled
            digest.update(block)
    return digest.hexdigest()
