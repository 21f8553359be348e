"""A batch of reports into SQL, in one transaction: what ingest then acknowledges and broadcasts.

Storing is idempotent: bytes go by position, journalled reports by number. Journalled reports are taken
in order; behind a hole they wait in memory, and the node is asked to send them again (it keeps them
until they are acknowledged, so losing that memory loses nothing).
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from django.db import transaction
from django.utils import timezone

from loraforge.artifacts.services import manifest_store
from loraforge.gateway import inbound
from loraforge.gateway.entries import Entry, Outcome
from loraforge.gateway.models import JournalPosition
from loraforge.gateway.reconcile import Memory, node_reconcile
from loraforge.instances.models import Attempt
from loraforge.migration.prefetching import staged_take
from loraforge.nodes.models import Node
from loraforge.nodes.services import node_seen
from loraforge.telemetry import services as telemetry
from loraforge.telemetry.models import StreamPosition
from loraforge.telemetry.pieces import Piece
from loraforge.telemetry.readings import Reading
from nodeagent.contract.channels import (
    ACK_AGENT,
    ACK_HEARD,
    ACK_JOURNAL,
    REREAD_JOURNAL,
    ack_field,
    reread_field,
)
from nodeagent.contract.reports import (
    FILE_STREAMS,
    JOURNAL_STREAMS,
    Chunk,
    CommandResult,
    Files,
    Gap,
    Heartbeat,
    PhaseChange,
    Sample,
)

log = logging.getLogger(__name__)

# A new agent folder begins its numbers at its clock in milliseconds, far above any hole.
NEW_FOLDER_JUMP = 1_000_000
# The agent looks for requests every second; what has not come by then does not exist any more.
HOLE_PATIENCE_S = 4.0
REREAD_EVERY_S = 5.0
STALE_HEARTBEAT_S = 30.0
MARK_MAX = 100
GIVEN_KEPT = 1_024
CLOCK_OFF_S = 10.0  # more than a heartbeat is ever late by itself
CLOCK_OFF = "the clock of %s is off by %+.0f s; set up NTP there (chrony, for instance)"
CLOCK_SAY_EVERY_S = 3600.0

AttemptKey = tuple[int, int]
StreamKey = tuple[int, int, str]


@dataclass
class _Hole:
    since: float
    waiting: dict[int, Entry] = field(default_factory=dict)


class Store:
    """Keeps what must be remembered between batches; one per ingest process."""

    def __init__(self) -> None:
        self._holes: dict[int, _Hole] = {}
        self._memory = Memory()
        self._asked: dict[tuple[str, str], float] = {}
        self._given: dict[AttemptKey, Attempt] = {}

    def batch_store(self, entries: Sequence[Entry]) -> Outcome:
        """Store a batch, all or nothing. Raises what the database raises."""
        batch = _Batch(
            entries,
            holes=self._holes,
            memory=self._memory,
            may_ask=self._may_ask,
            given=self._given,
        )
        try:
            with transaction.atomic():
                outcome = batch.store()
        except Exception:
            self._given.clear()  # what is remembered may be the cause
            raise
        self._holes_close(batch.positions)
        return outcome

    def holes_overdue(self) -> list[list[Entry]]:
        """What has waited for long enough, in order, each node's by itself."""
        now = time.monotonic()
        found = [hole for hole in self._holes.values() if now - hole.since >= HOLE_PATIENCE_S]
        return [[hole.waiting[seq] for seq in sorted(hole.waiting)] for hole in found]

    def late_store(self, entries: Sequence[Entry]) -> Outcome:
        """Store what waits behind a hole that nobody fills. Raises what the database raises."""
        log.warning(
            "%d reports have a hole before them that stays; taken as they are", len(entries)
        )
        with transaction.atomic():
            batch = _Batch(
                entries, holes={}, memory=self._memory, may_ask=self._may_ask, strict=False
            )
            outcome = batch.store()
        self._holes_close(batch.positions)
        return outcome

    def holes_forget(self, entries: Sequence[Entry]) -> None:
        """They were stored, or put aside: they wait no more."""
        for entry in entries:
            hole = self._holes.get(entry.node.pk)
            if hole is not None:
                hole.waiting.pop(entry.report.end, None)
                if not hole.waiting:
                    del self._holes[entry.node.pk]

    def _holes_close(self, positions: dict[int, int]) -> None:
        for node_id, position in positions.items():
            hole = self._holes.get(node_id)
            if hole is None:
                continue
            hole.waiting = {seq: entry for seq, entry in hole.waiting.items() if seq > position}
            if not hole.waiting:
                del self._holes[node_id]

    def _may_ask(self, node: str, name: str) -> bool:
        """A request is repeated, but not with every report that shows the same gap."""
        now = time.monotonic()
        if now - self._asked.get((node, name), -REREAD_EVERY_S) < REREAD_EVERY_S:
            return False
        self._asked[node, name] = now
        return True


class _Batch:
    """One transaction's work."""

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        holes: dict[int, _Hole],
        memory: Memory,
        may_ask: Callable[[str, str], bool],
        given: dict[AttemptKey, Attempt] | None = None,
        strict: bool = True,
    ) -> None:
        """given: attempts that were seen before, for reports that need only know whose they are."""
        self._entries = entries
        self._holes = holes
        self._memory = memory
        self._may_ask = may_ask
        self._strict = strict
        self._pieces: dict[StreamKey, list[Piece]] = {}
        self._attempts: dict[AttemptKey, Attempt] = {}
        self._given = {} if given is None else given
        self._heartbeats: dict[int, Entry] = {}
        self._readings: list[Reading] = []
        self._nodes = {entry.node.pk: entry.node for entry in entries}
        self.positions: dict[int, int] = {}
        self.outcome = Outcome()

    def store(self) -> Outcome:
        """All entries, in their order as far as it means something."""
        self._load()
        for entry in self._entries:
            match entry.report.body:
                case Chunk() | Gap():
                    self._chunk(entry)
                case PhaseChange() | Files() | CommandResult():
                    self._journalled(entry)
                case Sample() as sample:
                    self._sample(entry, sample)
                case Heartbeat():
                    self._heartbeats[entry.node.pk] = entry
        self._pieces_store(list(self._pieces))
        self.outcome.frames.extend(telemetry.samples_store(self._readings))
        for entry in self._heartbeats.values():
            self._heartbeat(entry)
        self._positions_store()
        return self.outcome

    def _load(self) -> None:
        """All that the entries speak of, in two queries. None for bytes of known attempts: their node stays."""
        if len(self._given) > GIVEN_KEPT:
            self._given.clear()
        nodes = {entry.node.pk for entry in self._entries if entry.report.stream in JOURNAL_STREAMS}
        if nodes or not self._is_given():
            self._attempts_load()
        else:
            self._attempts = self._given
        if nodes:
            known = JournalPosition.objects.select_for_update().filter(node_id__in=nodes)
            self.positions = {**dict.fromkeys(nodes, 0), **{row.node_id: row.seq for row in known}}

    def _is_given(self) -> bool:
        reports = (entry.report for entry in self._entries)
        return all((one.instance, one.attempt) in self._given for one in reports if one.instance)

    def _attempts_load(self) -> None:
        about = {entry.report.instance for entry in self._entries if entry.report.instance}
        for hole in self._holes.values():
            about |= {entry.report.instance for entry in hole.waiting.values()}
        if about:
            self._attempts = self._remember(about)

    def _remember(self, about: set[int]) -> dict[AttemptKey, Attempt]:
        """The attempts of these instances; the next batches know them too."""
        rows = Attempt.objects.filter(instance_id__in=about).select_related("instance")
        found = {(row.instance_id, row.number): row for row in rows}
        self._given.update(found)
        return found

    def _attempt(self, entry: Entry) -> Attempt | None:
        """The attempt that the report speaks of. A node speaks for its own only."""
        attempt = self._attempts.get((entry.report.instance, entry.report.attempt))
        if attempt is None or attempt.node_id != entry.node.pk:
            log.warning(
                "%s reports of attempt %d of #%d, which it was not given",
                entry.node, entry.report.attempt, entry.report.instance,
            )  # fmt: skip
            return None
        return attempt

    # -- bytes of files

    def _chunk(self, entry: Entry) -> None:
        report = entry.report
        key = (report.instance, report.attempt, report.stream)
        if self._attempt(entry) is None:
            # Acknowledged all the same: nobody will ever want it, and the node must not send it for ever.
            self.outcome.ack(entry.node, ack_field(*key), report.end)
            return
        match report.body:
            case Gap(lines=lines):
                piece = Piece(report.start, report.end, b"", lines)
            case _:
                piece = Piece(report.start, report.end, cast("Chunk", report.body).data)
        self._pieces.setdefault(key, []).append(piece)

    def _pieces_store(self, keys: Iterable[StreamKey]) -> None:
        for key in keys:
            pieces = self._pieces.pop(key)
            attempt = self._attempts[key[:2]]
            node = self._nodes[attempt.node_id]
            stored = telemetry.chunks_store(
                attempt=attempt, stream=cast("Any", key[2]), pieces=pieces
            )
            self.outcome.frames.extend(stored.frames)
            self.outcome.ack(node, ack_field(*key), stored.committed_end)
            if stored.gap:
                self._reread(node, reread_field(*key), stored.committed_end)

    def _reread(self, node: Node, name: str, position: int) -> None:
        if self._may_ask(node.name, name):
            log.info("%s is asked to send again: %s from %d", node, name, position)
            self.outcome.ack(node, name, f"{position}:{uuid.uuid4().hex[:8]}")

    # -- journalled reports

    def _journalled(self, entry: Entry) -> None:
        seq, position = entry.report.end, self.positions[entry.node.pk]
        is_next = seq == position + 1 or position == 0 or seq - position > NEW_FOLDER_JUMP
        if seq > position and not is_next and self._strict:
            hole = self._holes.setdefault(entry.node.pk, _Hole(since=time.monotonic()))
            hole.waiting[seq] = entry
            self._reread(entry.node, REREAD_JOURNAL, position)
            return
        self._journalled_apply(entry)
        hole = self._holes.get(entry.node.pk) or _Hole(since=0.0)
        while (waiting := hole.waiting.get(self.positions[entry.node.pk] + 1)) is not None:
            self._journalled_apply(waiting)

    def _journalled_apply(self, entry: Entry) -> None:
        report, node = entry.report, entry.node
        is_new = report.end > self.positions[node.pk]
        self.positions[node.pk] = max(report.end, self.positions[node.pk])
        attempt = self._attempt(entry)
        if attempt is None:
            return
        # What the trainer wrote before this must be there: the end is judged by it.
        self._pieces_store(
            [key for key in self._pieces if key[:2] == (report.instance, report.attempt)]
        )
        match report.body:
            case PhaseChange() as change:
                # Also one that came before: the attempt's own number decides whether it is old.
                inbound.phase_apply(attempt=attempt, change=change, seq=report.end, at=report.at)
                self._sizes(attempt, node, change)
            case Files() as files if is_new:  # an old manifest would hide what came after it
                manifest_store(attempt=attempt, files=files.files, complete=files.complete)
            case CommandResult() as result if is_new:
                inbound.result_apply(attempt=attempt, result=result)

    def _sizes(self, attempt: Attempt, node: Node, change: PhaseChange) -> None:
        """The final sizes: whatever of the files is missing then is asked for."""
        if not change.sizes:
            return
        self.outcome.frames.extend(
            telemetry.stream_sizes_store(attempt=attempt, sizes=change.sizes)
        )
        ends = dict(StreamPosition.objects.filter(attempt=attempt).values_list("stream", "end"))
        for stream in FILE_STREAMS:
            end = ends.get(stream, 0)
            if end < change.sizes.get(stream, 0):
                self._reread(node, reread_field(attempt.instance_id, attempt.number, stream), end)

    def _positions_store(self) -> None:
        for node_id, position in self.positions.items():
            JournalPosition.objects.update_or_create(node_id=node_id, defaults={"seq": position})
        for entry in self._entries:
            if entry.report.stream in JOURNAL_STREAMS:
                self.outcome.ack(entry.node, ACK_JOURNAL, self.positions[entry.node.pk])

    # -- the node itself

    def _sample(self, entry: Entry, sample: Sample) -> None:
        # when it was sent, by our clock: a node's own may be off by hours
        at = timezone.now() - timedelta(seconds=max(entry.age_s, 0.0))
        keys = sorted({(job.instance, job.attempt) for job in sample.jobs})
        if unknown := {key[0] for key in keys if key not in self._given}:
            self._remember(unknown)
        known = (self._given.get(key) for key in keys)  # what devices it was given never changes
        mine = [one for one in known if one and one.node_id == entry.node.pk]
        self._readings.append(Reading(node=entry.node, sample=sample, at=at, attempts=mine))

    def _heartbeat(self, entry: Entry) -> None:
        if entry.age_s > STALE_HEARTBEAT_S:
            return  # an inventory of long ago; the next one comes in seconds
        self._clock_look(entry)
        heartbeat = cast("Heartbeat", entry.report.body)
        if self._is_superseded(entry, heartbeat):
            return
        node = node_seen(node=entry.node, heartbeat=heartbeat)
        staged_take(node=node, staged=heartbeat.staged)
        wishes = node_reconcile(node=node, heartbeat=heartbeat, memory=self._memory)
        if heartbeat.mark:
            self.outcome.ack(node, ACK_HEARD, heartbeat.mark[:MARK_MAX])
        if wishes.reread_after is not None:
            self._reread(node, REREAD_JOURNAL, wishes.reread_after)

    def _clock_look(self, entry: Entry) -> None:
        """A node's clock that went wrong after it joined harms no job, but somebody should set it."""
        off_s, due = entry.report.at - (time.time() - entry.age_s), self._memory.is_due
        if abs(off_s) > CLOCK_OFF_S and due("clock", entry.node.pk, CLOCK_SAY_EVERY_S):
            log.warning(CLOCK_OFF, entry.node, off_s)

    def _is_superseded(self, entry: Entry, heartbeat: Heartbeat) -> bool:
        """Another agent has joined under this name since: its inventory counts, this one's does not."""
        if not self._is_other(entry.node, heartbeat):
            return False
        entry.node.refresh_from_db(fields=["agent_id"])  # it may have joined a moment ago
        if not self._is_other(entry.node, heartbeat):
            return False
        if self._may_ask(entry.node.name, ACK_AGENT):
            log.error("a second agent reports as %s; it is told to end", entry.node)
            self.outcome.ack(entry.node, ACK_AGENT, f"{entry.node.agent_id}:{uuid.uuid4().hex[:8]}")
        return True

    @staticmethod
    def _is_other(node: Node, heartbeat: Heartbeat) -> bool:
        return bool(node.agent_id) and heartbeat.agent_id not in {"", node.agent_id}
