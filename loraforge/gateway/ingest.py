"""Reads the nodes' report streams: store, acknowledge, broadcast, in this order.

One Redis consumer group over all streams. Entries are acknowledged and deleted only after the commit;
what a dead reader left is claimed. Redis and the database may go away at any time: the batch in hand is
kept and tried again, groups that vanished are made anew, and a node sends again what was lost.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis
from django.db import InterfaceError, OperationalError, close_old_connections, connection

from loraforge.core import live, pulse
from loraforge.core.outage import Outage
from loraforge.core.redis import connection_blocking
from loraforge.core.texts import storable
from loraforge.gateway.entries import Entry, Outcome
from loraforge.gateway.models import DeadLetter
from loraforge.gateway.store import Store
from loraforge.nodes.models import Node
from loraforge.nodes.silence import hearing_touch
from nodeagent.contract.channels import ack_key, report_stream
from nodeagent.contract.reading import UNREADABLE
from nodeagent.contract.reports import Sample, report_unpack

log = logging.getLogger(__name__)

GROUP = "ingest"
BATCH = 500
BATCH_BYTES = 16 * 1024 * 1024
BLOCK_MS = 500
NODES_EVERY_S = 1.0
HEARING_EVERY_S = 5.0
CLAIM_EVERY_S = 10.0
CLAIM_IDLE_MS = 30_000
TRIES = 3
SPOILT_S = 60.0
RAW_KEPT_BYTES = 64 * 1024
DEAD_KEPT = 200  # of a node, the newest

# Key of a stream -> entries as redis-py gives them: (id, fields); fields are None for a deleted one.
RawEntries = list[tuple[bytes, dict[bytes, bytes] | None]]
# One of `Store`'s ways to store reports.
Storing = Callable[[Sequence[Entry]], Outcome]


@dataclass(frozen=True)
class Part:
    """What was read of one stream. ids: of all that it is, with those that are no reports."""

    key: bytes
    ids: list[bytes]
    entries: list[Entry]

    @property
    def is_readings(self) -> bool:
        """It has nothing else."""
        return all(isinstance(entry.report.body, Sample) for entry in self.entries)


def consumer_name() -> str:
    """Which reader this process is."""
    return f"{socket.gethostname()}-{os.getpid()}"


class Ingest:
    """One thread's work: `run` until ``stopping`` is set."""

    def __init__(self, stopping: threading.Event, *, client: "redis.Redis | None" = None) -> None:
        self._stopping = stopping
        self._redis = client if client is not None else connection_blocking()
        self._consumer = consumer_name()
        self._store = Store()
        self._nodes: dict[bytes, Node] = {}
        self._due: dict[str, float] = {}
        self._spoilt: dict[bytes, float] = {}  # streams that are not read, until when
        self._recover = True
        self._clock_ahead_s = 0.0
        self._outage = Outage(log=log, resumed="reports are read again", stopping=stopping)

    def run(self) -> None:
        """Read for ever."""
        while not self._stopping.is_set():
            pulse.turn("ingest")
            try:
                self.turn()
            except (redis.RedisError, OSError) as error:
                self._recover = True
                self._outage.wait("reports wait, Redis does not answer", error)
            except (OperationalError, InterfaceError) as error:
                self._recover = True
                self._outage.wait("reports wait, the database does not answer", error)
                close_old_connections()
            else:
                self._outage.over()
        connection.close()

    def turn(self, *, block_ms: int = BLOCK_MS) -> int:
        """Read once and deal with what came; returns the number of entries."""
        try:
            return self._turn(block_ms)
        except redis.ResponseError as error:
            if not self._keys_mend():
                raise
            log.debug("read again: %s", error)
            self._recover = True
            return 0

    def _turn(self, block_ms: int) -> int:
        if self._is_due("nodes", NODES_EVERY_S) or self._recover:
            self._nodes_refresh()
        if not self._nodes:
            self._stopping.wait(block_ms / 1000)
            return 0
        if self._recover:
            self._left_over()
            self._recover = False
        count = self._read(block_ms)
        if self._is_due("claim", CLAIM_EVERY_S):
            count += self._claim()
        self._holes()
        if self._is_due("hearing", HEARING_EVERY_S):
            hearing_touch()
        return count

    def _is_due(self, what: str, every_s: float) -> bool:
        now = time.monotonic()
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + every_s
        return True

    # -- reading

    def _nodes_refresh(self) -> None:
        """New nodes are read without a restart, and a clock of Redis that jumps is noticed."""
        seconds, microseconds = self._redis.time()
        self._clock_ahead_s = seconds + microseconds / 1e6 - time.time()
        now = time.monotonic()
        self._spoilt = {key: until for key, until in self._spoilt.items() if until > now}
        known = {report_stream(node.name).encode(): node for node in Node.objects.all()}
        nodes = {key: node for key, node in known.items() if key not in self._spoilt}
        for key in nodes if self._recover else nodes.keys() - self._nodes.keys():
            self._group_make(key)
        self._nodes = nodes

    def _group_make(self, key: bytes) -> None:
        try:
            self._redis.xgroup_create(key, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _keys_mend(self) -> bool:
        """A node's account may put anything under its own keys: what is of a wrong kind goes, and that node alone
        waits for a while. Nothing is lost: it sends again what has no acknowledgement. True when there was such.
        """
        spoilt = []
        for node in Node.objects.all():
            kinds = {report_stream(node.name): b"stream", ack_key(node.name): b"hash"}
            wrong = [
                key for key, kind in kinds.items() if self._redis.type(key) not in {kind, b"none"}
            ]
            if wrong:
                log.error("%s has put something else under %s; it is read again later", node, wrong)
                self._redis.delete(*wrong)
                self._spoilt[report_stream(node.name).encode()] = time.monotonic() + SPOILT_S
                spoilt.append(node)
        return bool(spoilt)

    def _read(self, block_ms: int) -> int:
        try:
            answer = self._redis.xreadgroup(
                GROUP, self._consumer, dict.fromkeys(self._nodes, ">"), count=BATCH, block=block_ms
            )
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            log.warning("the report streams are gone; made anew")
            for key in self._nodes:
                self._group_make(key)
            return 0
        return self._answer_process(answer)

    def _answer_process(self, answer: Any) -> int:
        """``answer`` of XREADGROUP: a list of pairs, or a mapping with RESP3.

        Readings only add rows, and wait for nobody's lock: those of all nodes are stored together. With hundreds
        of nodes a transaction for each takes longer than its rows.
        """
        pairs = answer.items() if isinstance(answer, dict) else answer or []
        readings: list[Part] = []
        count = 0
        for key, found in pairs:
            # RESP3 wraps a stream's entries once more.
            entries = found[0] if found and isinstance(found[0], list) else found
            count += len(entries)
            for part in self._parts(key, entries):
                if not part.is_readings:
                    self._batch([part])
                    continue
                readings.append(part)
                if sum(len(one.entries) for one in readings) >= BATCH:
                    self._batch(readings)
                    readings = []
        self._batch(readings)
        return count

    def _left_over(self) -> None:
        """What this reader was given before an outage, and what dead readers of this host were given."""
        for key in self._nodes:
            for consumer in self._dead_consumers(key):
                self._take_over(key, consumer)
            while not self._stopping.is_set():
                answer = self._redis.xreadgroup(GROUP, self._consumer, {key: "0"}, count=BATCH)
                if not self._answer_process(answer):
                    break

    def _dead_consumers(self, key: bytes) -> list[str]:
        host, _dash, _pid = self._consumer.rpartition("-")
        found = []
        for consumer in self._redis.xinfo_consumers(key, GROUP):
            name = consumer["name"].decode()
            other_host, _dash, pid = name.rpartition("-")
            if name != self._consumer and other_host == host and not _is_alive(pid):
                found.append(name)
        return found

    def _take_over(self, key: bytes, consumer: str) -> None:
        while True:
            pending = self._redis.xpending_range(key, GROUP, "-", "+", BATCH, consumername=consumer)
            if not pending:
                break
            ids: list[Any] = [one["message_id"] for one in pending]
            entries = self._redis.xclaim(key, GROUP, self._consumer, 0, ids)
            self._entries_process(key, cast("RawEntries", entries))
            # Deleted entries are not given by XCLAIM of Redis 6; they need no reader any more.
            self._redis.xack(key, GROUP, *ids)
        self._redis.xgroup_delconsumer(key, GROUP, consumer)

    def _claim(self) -> int:
        """What another reader, on whatever host, has had for long."""
        count = 0
        for key in self._nodes:
            answer = self._redis.xautoclaim(
                key, GROUP, self._consumer, CLAIM_IDLE_MS, start_id="0-0", count=BATCH
            )
            entries = answer[1]
            if entries:
                log.info("%d reports taken over on %s", len(entries), key.decode())
                self._entries_process(key, entries)
                count += len(entries)
        return count

    # -- processing

    def _entries_process(self, key: bytes, raw: RawEntries) -> None:
        """All entries of one stream, in batches of bounded size; returns when they are acknowledged."""
        for part in self._parts(key, raw):
            self._batch([part])

    def _parts(self, key: bytes, raw: RawEntries) -> Iterator[Part]:
        """Pieces of bounded size."""
        begin = 0
        while begin < len(raw):
            end, size = begin, 0
            while end < len(raw) and end - begin < BATCH and size < BATCH_BYTES:
                size += len((raw[end][1] or {}).get(b"b", b""))
                end += 1
            ids = [entry_id for entry_id, _fields in raw[begin:end]]
            yield Part(key, ids, self._decode(key, raw[begin:end]))
            begin = end

    def _batch(self, parts: Sequence[Part]) -> None:
        if not parts:
            return
        entries = [entry for part in parts for entry in part.entries]
        outcomes = self._stored(entries, store=self._store.batch_store)
        self._tell(outcomes, parts)

    def _decode(self, key: bytes, raw: RawEntries) -> list[Entry]:
        node = self._nodes[key]
        entries = []
        for entry_id, fields in raw:
            if fields is None:
                continue  # deleted while it was pending
            packed = fields.get(b"b", b"")
            try:
                report = report_unpack(packed)
            except UNREADABLE as error:
                self._dead(node, entry_id.decode(), packed, error)
                continue
            if report.node != node.name:
                self._dead(
                    node, entry_id.decode(), packed, ValueError(f"it says node {report.node}")
                )
                continue
            entries.append(
                Entry(
                    entry_id=entry_id.decode(),
                    node=node,
                    report=report,
                    raw=packed,
                    clock_ahead_s=self._clock_ahead_s,
                )
            )
        return entries

    def _stored(self, entries: Sequence[Entry], *, store: Storing) -> list[Outcome]:
        if not entries:
            return []
        try:
            return [store(entries)]
        except (OperationalError, InterfaceError):
            raise  # the database, not the reports; they stay pending
        except Exception:
            log.exception("a batch of %d reports cannot be stored; one by one", len(entries))
        return [outcome for entry in entries if (outcome := self._single(entry, store)) is not None]

    def _single(self, entry: Entry, store: Storing) -> Outcome | None:
        """One report; after some tries it is put aside, so that it does not hold up the others."""
        for attempt in range(1, TRIES + 1):
            try:
                return store([entry])
            except (OperationalError, InterfaceError):
                raise
            except Exception as error:
                if attempt == TRIES:
                    self._dead(entry.node, entry.entry_id, entry.raw, error)
        return None

    def _dead(self, node: Node, entry_id: str, raw: bytes, error: Exception) -> None:
        log.error("report %s of %s is put aside: %s", entry_id, node, error)
        DeadLetter.objects.create(
            node=node.name,
            entry_id=entry_id,
            raw=raw[:RAW_KEPT_BYTES],
            error=storable(f"{type(error).__name__}: {error}", length=2000),
        )
        kept = DeadLetter.objects.filter(node=node.name).order_by("-pk")
        DeadLetter.objects.filter(
            pk__in=list(kept.values_list("pk", flat=True)[DEAD_KEPT:])
        ).delete()

    def _holes(self) -> None:
        """What waits behind a hole that nobody fills, each node's by itself."""
        for entries in self._store.holes_overdue():
            self._tell(self._stored(entries, store=self._store.late_store))
            self._store.holes_forget(entries)

    # -- telling

    def _tell(self, outcomes: Iterable[Outcome], parts: Sequence[Part] = ()) -> None:
        """Frames first: somebody waits for them. Then what the nodes may forget."""
        kept = list(outcomes)
        pipeline = self._redis.pipeline(transaction=False)
        live.frames_add(pipeline, (frame for outcome in kept for frame in outcome.frames))
        for node, fields in (ack for outcome in kept for ack in outcome.acks.items()):
            pipeline.hset(ack_key(node), mapping=cast("dict[Any, Any]", fields))
        for part in parts:
            pipeline.xack(part.key, GROUP, *part.ids)
            pipeline.xdel(part.key, *part.ids)
        pipeline.execute()


def _is_alive(pid: str) -> bool:
    if not pid.isdecimal():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
