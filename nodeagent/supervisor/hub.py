"""The cache of what comes from model hubs: fetched by a short program with network, then only read.

``<cache>/hub/<public | user-7>/<hub>/<kind>/<org@name>/<revision>/``. What nobody may have without a
token lies below the user whose token it was, and no other user's job ever looks there.
"""

import hashlib
import logging
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from nodeagent.contract import paths
from nodeagent.contract.commands import Fetch
from nodeagent.contract.reading import UNREADABLE
from nodeagent.runtimes.base import Errand, Runtime, RuntimeAway, Say
from nodeagent.runtimes.ownership import folder_give
from nodeagent.supervisor.admission import Refusal
from nodeagent.supervisor.caches import FREE_PART, WHOLE, whole_mark
from nodeagent.transfer.inputs import SecretMissing, TransferCancelled
from nodeagent.workspace import UnsafePath, read_small

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.2
PROGRAM = f"{paths.PLUGIN}/hub_fetch.py"
LONGEST_NAME = 200  # of a folder; file systems take 255 bytes
LAST_WORDS_BYTES = 2_000
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}\Z", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w.-]{0,127}\Z", re.ASCII)
_SUBFOLDER = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95}){0,5}\Z", re.ASCII)
_USER = re.compile(r"\d{1,20}\Z", re.ASCII)
PUBLIC = "public"

# The program's results as reasons, and what each means to a person.
_REASONS = {
    "denied": (
        "user:hub_denied",
        "{repo} does not exist at {hub}, or only people who were let in may have it. Check the name, or "
        "store your token for {hub} on the account page.",
    ),
    "no_revision": ("user:hub_revision", "{message}"),
    "unreachable": ("node:hub_unreachable", "{hub} does not answer this node: {message}"),
    "disk_full": ("node:disk_full", "No room for {repo}."),
}


class Had(msgspec.Struct, frozen=True, kw_only=True):
    """Where it lies, and which revision it is."""

    path: Path
    revision: str


class _State(msgspec.Struct, frozen=True):
    """What the program tells; see its own text."""

    revision: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    result: str = ""
    message: str = ""


class _Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One try of one fetch."""

    wanted: Fetch
    scope: str
    token: bytes
    image: str
    say: Say
    cancelled: Callable[[], bool]

    @property
    def place(self) -> Path:
        """Relative to the cache. No name has an @, so that no two repositories share a place."""
        name = self.wanted.repo.replace("/", "@")
        if self.wanted.subfolder:
            name += "@@" + self.wanted.subfolder.replace("/", "@")
        if len(name) > LONGEST_NAME:
            name = f"{name[:100]}@@@{hashlib.sha256(name.encode()).hexdigest()}"
        return Path(self.scope, self.wanted.hub, self.wanted.kind, name)


class Denied(Refusal):
    """Nobody may have it, or not with this token."""


class HubCache:
    """Thread-safe; two jobs that want the same fetch it once.

    token_get: the secret behind a token_url. make_room: asked before a fetch of so many bytes.
    """

    def __init__(
        self,
        *,
        folder: Path,
        runtime: Runtime,
        token_get: Callable[[str], bytes],
        make_room: Callable[[int], None] = lambda _wanted: None,
    ) -> None:
        self.folder = folder / "hub"
        self._tokens = folder / "hub-tokens"
        self._runtime = runtime
        self._token_get = token_get
        self._make_room = make_room
        self._guard = threading.Lock()
        self._locks: dict[Path, threading.Lock] = {}
        self._made: dict[tuple[Path, str], tuple[float, Had]] = {}
        shutil.rmtree(self._tokens, ignore_errors=True)  # an earlier life may have left one
        try:
            runtime.errands_clear()
        except RuntimeAway as away:
            log.warning("what an earlier life of the agent left of fetches is not known: %s", away)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._tokens.mkdir(mode=0o711)  # a program's user opens its own file, and lists nothing

    def have(self, wanted: Fetch, *, image: str, say: Say, cancelled: Callable[[], bool]) -> Had:
        """Have it in the cache. Raises Refusal, TransferCancelled, RuntimeFault."""
        _check(wanted)
        ask = _Ask(
            wanted=wanted, scope=PUBLIC, token=b"", image=image, say=say, cancelled=cancelled
        )
        try:
            return self._once(ask)
        except Denied as denied:
            if not wanted.token_url or not _USER.match(wanted.user):
                raise
            try:
                token = self._token_get(wanted.token_url)
            except SecretMissing:
                raise denied from None
        scope = f"user-{wanted.user}"
        return self._once(msgspec.structs.replace(ask, scope=scope, token=token))

    def _once(self, ask: _Ask) -> Had:
        """Fetch it, or wait for somebody else who does."""
        key = (ask.place, ask.wanted.revision)
        with self._guard:
            lock = self._locks.setdefault(ask.place, threading.Lock())
        asked_at = time.monotonic()
        while not lock.acquire(timeout=LOOK_EVERY_S):
            if ask.cancelled():
                raise TransferCancelled
        try:
            made_at, had = self._made.get(key, (0.0, None))
            if had is not None and made_at >= asked_at:
                return had
            had = self._fetch(ask, self.folder / ask.place)
            self._made[key] = (time.monotonic(), had)
            return had
        finally:
            lock.release()

    def _fetch(self, ask: _Ask, place: Path) -> Had:
        shutil.rmtree(place / "run", ignore_errors=True)
        (place / "run" / "tmp").mkdir(parents=True)
        self._give(place)
        name = f"lf-fetch-{secrets.token_hex(6)}"
        token_file = self._token_put(ask.token) if ask.token else None
        argv = [PROGRAM, *_arguments(ask.wanted), "--into", paths.FETCH]
        if token_file is not None:
            argv += ["--token-file", paths.FETCH_TOKEN]
        log.info("%s: fetching %s from %s", name, ask.wanted.repo, ask.wanted.hub)
        errand = Errand(name=name, folder=place, argv=argv, image=ask.image, token=token_file)
        try:
            self._runtime.errand_start(errand)
            state = self._follow(ask, place, name)
        finally:
            if token_file is not None:  # first: ending it may find the engine away
                token_file.unlink()
            self._runtime.errand_end(name)
        return self._judge(ask, place, state)

    def _follow(self, ask: _Ask, place: Path, name: str) -> _State:
        has_room = False
        while True:
            runs = self._runtime.errand_runs(
                name
            )  # before the state, which is written before the end
            state = _state_read(place)
            if state.total_bytes and not _was_here(place, state):
                ask.say(
                    done_bytes=state.done_bytes,
                    total_bytes=state.total_bytes,
                    detail=f"{ask.wanted.repo}@{state.revision}",
                )
                if not has_room and not state.result:
                    self._room_check(ask.wanted, state.total_bytes - state.done_bytes)
                    has_room = True
            if not runs:
                return state
            if ask.cancelled():
                raise TransferCancelled
            time.sleep(LOOK_EVERY_S)

    def _room_check(self, wanted: Fetch, wanted_bytes: int) -> None:
        """Refuses while a tenth of the disk would not stay free, after what may go has gone."""
        self._make_room(wanted_bytes)
        disk = shutil.disk_usage(self.folder)
        if disk.free - wanted_bytes < disk.total * FREE_PART:
            raise Refusal(
                "node:disk_full",
                f"{wanted.repo} needs {wanted_bytes / 1e9:.1f} GB, which would fill this node's disk.",
            )

    def _judge(self, ask: _Ask, place: Path, state: _State) -> Had:
        wanted = ask.wanted
        if state.result == "whole" and _REVISION.match(state.revision):
            whole_mark(place, state.revision)
            shutil.rmtree(place / "run", ignore_errors=True)
            path = place / state.revision / wanted.subfolder
            return Had(path=path, revision=state.revision)
        said = state.message or _last_words(place)
        if ask.token:
            said = said.replace(ask.token.decode(errors="replace"), "***")
        log.warning("%s of %s: %s %s", wanted.repo, wanted.hub, state.result or "failed", said)
        reason, text = _REASONS.get(
            state.result, ("node:fetch_failed", "{repo} could not be fetched: {message}")
        )
        hub = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}[wanted.hub]
        detail = text.format(repo=wanted.repo, hub=hub, message=said)
        raise (Denied if state.result == "denied" else Refusal)(reason, detail)

    def _give(self, place: Path) -> None:
        user = self._runtime.job_user
        if user is None:
            return
        uid, gid = user
        if os.geteuid() == 0:
            os.chown(place, uid, gid)
        folder_give(place / "run", uid=uid, gid=gid)

    def _token_put(self, token: bytes) -> Path:
        """A file that only the program's user may read, gone with its end."""
        path = self._tokens / secrets.token_hex(8)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        with os.fdopen(descriptor, "wb") as file:
            file.write(token)
        user = self._runtime.job_user
        if user is not None and os.geteuid() == 0:
            os.chown(path, *user)
        return path


def _check(wanted: Fetch) -> None:
    """What would lead out of the cache, or be another argument."""
    parts = wanted.repo.split("/")
    whole = len(parts) == 2 and all(_NAME.match(part) for part in parts)  # noqa: PLR2004 - org/name
    revision = not wanted.revision or _SUBFOLDER.match(wanted.revision)
    subfolder = not wanted.subfolder or _SUBFOLDER.match(wanted.subfolder)
    target = wanted.target == paths.MODEL or wanted.target.startswith(f"{paths.DATA}/")
    if not (whole and revision and subfolder and target) or ".." in wanted.target:
        raise Refusal("hub:bad_spec", f"{wanted.repo}: this cannot be fetched.")


def _arguments(wanted: Fetch) -> list[str]:
    argv = ["--hub", wanted.hub, "--kind", wanted.kind, "--repo", wanted.repo]
    for name in ("revision", "subfolder"):
        if value := getattr(wanted, name):
            argv += [f"--{name}", value]
    return argv


def _was_here(place: Path, state: _State) -> bool:
    """It was whole already; what has just been fetched is marked only after this look."""
    if not state.result or not _REVISION.match(state.revision):
        return False
    return (place / f"{state.revision}{WHOLE}").exists()


def _state_read(place: Path) -> _State:
    try:
        data = read_small(place, "run/state.json")
    except (FileNotFoundError, UnsafePath):
        return _State()
    try:
        return msgspec.json.decode(data, type=_State)
    except UNREADABLE:
        return _State()


def _last_words(place: Path) -> str:
    try:
        lines = read_small(place, "run/log.txt").decode(errors="replace").split("\n")
    except (FileNotFoundError, UnsafePath):
        return "it ended without a word"
    said = [line.strip() for line in lines if line.strip()]
    return said[-1][:LAST_WORDS_BYTES] if said else "it ended without a word"
