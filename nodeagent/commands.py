"""Commands of the control plane, each done once however often it comes."""

import logging
from collections.abc import Callable

import msgspec

from nodeagent.contract.commands import (
    Checkpoint,
    Command,
    Discard,
    Remove,
    Stage,
    Start,
    Stop,
    command_load,
)
from nodeagent.journal import Journal, JournalFault
from nodeagent.supervisor import Supervisor
from nodeagent.supervisor.admission import Refusal
from nodeagent.supervisor.staging import Staging

log = logging.getLogger(__name__)


class Commands:
    """Takes plain messages; journals, acts, and reports the result. Returns within milliseconds."""

    def __init__(
        self,
        *,
        journal: Journal,
        supervisor: Supervisor,
        discard: Callable[[list[str]], None],
        staging: Staging,
    ) -> None:
        self._journal = journal
        self._supervisor = supervisor
        self._discard = discard
        self._staging = staging

    def handle(self, plain: object) -> None:
        """Do one command. A message that cannot be understood is logged and answered if it has an id."""
        try:
            command = command_load(plain)
        except msgspec.ValidationError as fault:
            self._not_understood(plain, fault)
            return
        if isinstance(command, Discard):
            self._discard(command.hashes)
            return
        if isinstance(command, Stage):  # answered by every heartbeat, and worth asking again
            self._staging.take(command)
            return
        if self._journal.command_done(command.id):
            log.info("command %s came again", command.id)
            return
        kind = _kind(command)
        error, message = "", ""
        try:
            self._act(command)
        except Refusal as refusal:
            error, message = refusal.reason, refusal.detail
            log.warning("%s of instance %d refused: %s", kind, command.instance, error)
        except JournalFault as fault:
            # not done and not answered: the control plane sends it again
            log.error("%s of instance %d: %s", kind, command.instance, fault)
            return
        self._answer(command, kind, error=error, message=message)

    def _answer(self, command: Command, kind: str, *, error: str, message: str) -> None:
        try:
            self._supervisor.command_result(command, kind, error=error, message=message)
        except JournalFault as fault:
            log.error("the answer to %s: %s", command.id, fault)

    def _act(self, command: Start | Stop | Checkpoint | Remove) -> None:
        match command:
            case Start():
                self._supervisor.attempt_start(command)
            case Stop():
                self._supervisor.attempt_stop(command)
            case Checkpoint():
                self._supervisor.attempt_checkpoint(command)
            case Remove():
                self._supervisor.instance_remove(command)

    def _not_understood(self, plain: object, error: msgspec.ValidationError) -> None:
        log.error("a command is not understood: %s", error)
        try:
            known = msgspec.convert(plain, _Addressed)
        except msgspec.ValidationError:
            return
        if not self._journal.command_done(known.id):
            stand_in = Checkpoint(id=known.id, instance=known.instance, attempt=known.attempt)
            self._answer(stand_in, known.type, error="command:invalid", message=str(error))


class _Addressed(msgspec.Struct, frozen=True):
    """What even a command of another release has."""

    id: str
    instance: int = 0
    attempt: int = 0
    type: str = "unknown"


def _kind(command: Command) -> str:
    return str(command.__struct_config__.tag)
