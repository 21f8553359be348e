"""Commands: control plane -> node agent, JSON, at least once, in any order.

An agent journals a command by its id and answers with a `CommandResult`; doing one twice changes
nothing. A stop that overtakes its start leaves a tombstone, and that start is then refused.
"""

from typing import Literal

import msgspec

from nodeagent.contract import VERSION, paths


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A file that an earlier attempt left on this node; path is relative to that attempt's folder."""

    instance: int
    attempt: int
    path: str


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """The same bytes at another node's file service; the token is for this file alone, for minutes."""

    url: str
    token: str


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the node fetches and verifies before the start.

    url is relative to the control plane's base URL and signed; target is a path below paths.INPUTS.
    source: where this node has the same bytes already; when they are not there any more, or are others,
    the url has them. peer: tried before the url, and given up at its first trouble.
    """

    target: str
    url: str
    sha256: str
    size_bytes: int
    source: Source | None = None
    peer: Peer | None = None


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A folder on the node that the job sees, read-only, at target. Must lie in the node's model roots."""

    target: str
    path: str


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """A model or dataset of a model hub, which the node fetches into its cache before the start.

    The job sees it read-only at target. revision: empty = the newest. subfolder: of a model; only that is
    fetched. token_url: where the node gets the owner's token for this hub, relative and signed; tried
    only where nobody may have it without. What was fetched with it is kept for this user alone.
    """

    target: str
    kind: Literal["model", "dataset"]
    hub: Literal["huggingface", "modelscope"]
    repo: str
    revision: str = ""
    subfolder: str = ""
    token_url: str = ""
    user: str = ""


class SecretInput(msgspec.Struct, frozen=True, kw_only=True):
    """A secret of the owner that the training needs as the environment variable of this name.

    url: where the node gets it, relative and signed. It travels by a file that only the job may read.
    """

    name: str
    url: str


class Start(msgspec.Struct, frozen=True, kw_only=True, tag="start"):
    """Start one attempt of an instance.

    argv: what follows the Python executable (``-m swift.cli.sft --model /lf/model ...``).
    devices: GPU UUIDs, or ``cpu-<n>`` slots; empty never happens.
    processes: > 1 = one training over that many local processes (torchrun).
    spec_hash: SHA-256 over all that decides what runs; same name with another hash is refused.
    network: the training itself speaks to others; without it a container has no network at all.
    fence_after_s: when the control plane has acknowledged nothing for so long, the agent stops it, for it
    may be replaced elsewhere; 0 = never. fence_grace_s: how long it may save then, before it is killed.
    disk_bytes: what the job's folder may take before the job is ended; 0 = no limit of its own.
    """

    id: str
    instance: int
    attempt: int
    argv: list[str]
    devices: list[str]
    spec_hash: str
    env: dict[str, str] = {}
    inputs: list[Input] = []
    mounts: list[Mount] = []
    fetches: list[Fetch] = []
    network: bool = False
    secrets: list[SecretInput] = []
    processes: int = 1
    image: str = ""
    save_every_s: int = 600
    fence_after_s: int = 0
    fence_grace_s: int = 0
    disk_bytes: int = 0
    issued_at: float = 0.0
    v: int = VERSION


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """End an attempt.

    ``save`` asks for a checkpoint first (SIGTERM, then SIGKILL after grace_s), ``now`` does not wait. While
    a checkpoint is being written and grows, the SIGKILL waits, at most save_max_s after the SIGTERM.
    """

    id: str
    instance: int
    attempt: int
    mode: Literal["save", "now"]
    grace_s: float = 30.0
    save_max_s: float = 0.0  # less than grace_s = grace_s
    issued_at: float = 0.0
    v: int = VERSION


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, tag="checkpoint"):
    """Save a checkpoint and go on."""

    id: str
    instance: int
    attempt: int
    issued_at: float = 0.0
    v: int = VERSION


class Remove(msgspec.Struct, frozen=True, kw_only=True, tag="remove"):
    """Delete the files of an instance from the node, of this attempt and all before it.

    Refused while one of them lives. A later attempt keeps its files: this may come late.
    """

    id: str
    instance: int
    attempt: int
    issued_at: float = 0.0
    v: int = VERSION


class Discard(msgspec.Struct, frozen=True, kw_only=True, tag="discard"):
    """Let go of these inputs in the cache: the datasets that had them are deleted.

    What a live attempt was given stays. No answer: as long as heartbeats name one, it is asked again.
    """

    id: str
    hashes: list[str]
    instance: int = 0  # of no instance
    attempt: int = 0
    issued_at: float = 0.0
    v: int = VERSION


class Stage(msgspec.Struct, frozen=True, kw_only=True, tag="stage"):
    """Have beforehand what a start to come will need; nothing is started.

    Never journalled: what came of it stands in every heartbeat (`Staged`) as long as the agent lives, and
    the same again goes on where it was. instance, attempt: for whom; 0 = a model for whoever wants it.
    mounts: refused when one is not there. fetches_optional: a start may fetch them with a token that this
    has not, so their failure is none of this.
    """

    id: str
    instance: int = 0
    attempt: int = 0
    inputs: list[Input] = []
    mounts: list[Mount] = []
    fetches: list[Fetch] = []
    fetches_optional: bool = False
    image: str = ""
    issued_at: float = 0.0
    v: int = VERSION


Command = Start | Stop | Checkpoint | Remove | Discard | Stage

_decoder = msgspec.json.Decoder(Command)


def command_dump(command: Command) -> dict[str, object]:
    """The command as plain data for a Celery message's ``command`` argument."""
    plain: dict[str, object] = msgspec.to_builtins(command)
    return plain


def command_load(plain: object) -> Command:
    """The command of a Celery message. Raises msgspec.ValidationError naming the bad field."""
    command: Command = msgspec.convert(plain, Command)
    return command


def command_parse(raw: bytes) -> Command:
    """The command of a JSON text, as kept in the agent's journal and in the golden files."""
    command: Command = _decoder.decode(raw)
    return command


__all__ = [
    "Checkpoint",
    "Command",
    "Discard",
    "Fetch",
    "Input",
    "Mount",
    "Peer",
    "Remove",
    "SecretInput",
    "Source",
    "Stage",
    "Start",
    "Stop",
    "command_dump",
    "command_load",
    "command_parse",
    "paths",
]
