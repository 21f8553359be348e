"""A small control plane for the agent's tests: joining, inputs, commands out, reports in."""

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import redis

from nodeagent.contract import channels
from nodeagent.contract.commands import Command, Start, command_dump
from nodeagent.contract.joining import JoinAnswer
from nodeagent.contract.phases import Phase
from nodeagent.contract.reports import (
    FILE_STREAMS,
    JOURNAL_STREAMS,
    Chunk,
    CommandResult,
    Files,
    Gap,
    Heartbeat,
    PhaseChange,
    Report,
    report_unpack,
)
from nodeagent.worker import celery_app

ROOT = Path(__file__).resolve().parent.parent.parent
TOKEN = "the-node-token"
Key = tuple[int, int, str]


def wait_for(
    condition: Callable[[], Any], *, timeout_s: float = 20.0, what: str = "the condition"
) -> Any:
    """The condition's first true value. Fails after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true in {timeout_s:.0f} s"
        time.sleep(0.005)
    return value


class Plane:
    """Answers joins, sends commands, and takes reports in as ingest does: in order, gaps refused."""

    def __init__(self, redis_url: str, *, node: str = "n1") -> None:
        self.node = node
        self.redis_url = redis_url
        self.redis = redis.Redis.from_url(redis_url)
        self.file_key = secrets.token_bytes(32)
        self.cluster = "cluster-a"
        self.clock_skew_s = 0.0
        self.join_status = 200
        self.joins: list[dict[str, Any]] = []
        self.inputs: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []  # (path, Range header)
        self.cut_after = 0  # end the first answers of inputs after so many bytes
        self.reports: list[Report] = []
        self.arrived: list[float] = []
        self.data: dict[Key, bytearray] = {}
        self.gaps: list[tuple[Key, int, int]] = []
        self.left_out: list[tuple[int, int, int]] = []  # of the log: start, end, lines
        self.acking = True
        self._journal = 0
        self._last = b"0"
        self._from_start = threading.Event()
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._http = _Server(self)
        self._sender = celery_app(node=node, redis_url=redis_url, handle=lambda _plain: None)
        self._threads = [
            threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True),
            threading.Thread(target=self._ingest, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        self._stopping.set()
        self._http.shutdown()
        self._http.server_close()
        for thread in self._threads:
            thread.join(5)
        self._sender.close()
        self.redis.close()

    # -- commands

    def send(self, command: Command) -> None:
        self._sender.send_task(
            channels.COMMAND_TASK,
            kwargs={"command": command_dump(command)},
            queue=channels.command_queue(self.node),
        )

    # -- reports

    def acking_resume(self) -> None:
        """As an ingest that was away: it reads all that waits in the stream, and acknowledges."""
        self.acking = True
        self._from_start.set()  # its own thread goes back: it also sets the place that it has reached

    def _ingest(self) -> None:
        while not self._stopping.is_set():
            if self._from_start.is_set():
                self._from_start.clear()
                self._last = b"0"
            try:
                found: Any = self.redis.xread(
                    {channels.report_stream(self.node): self._last}, count=500, block=100
                )
                for entry, fields in found[0][1] if found else []:
                    self._take(report_unpack(fields[b"b"]))
                    self._last = entry
                    if self.acking:
                        self.redis.xdel(channels.report_stream(self.node), entry)
            except redis.ConnectionError:
                time.sleep(0.05)

    def _take(self, report: Report) -> None:
        with self._lock:
            self.reports.append(report)
            self.arrived.append(time.time())
            acks: dict[Any, Any] = {}
            if isinstance(report.body, Chunk):
                self._chunk(report, report.body.data, acks)
            elif isinstance(report.body, Gap):
                self._left_out(report, report.body.lines, acks)
            elif report.stream in JOURNAL_STREAMS:
                self._journal = max(self._journal, report.end)
                acks[channels.ACK_JOURNAL] = self._journal
            elif isinstance(report.body, Heartbeat):
                acks[channels.ACK_HEARD] = report.body.mark
        if acks and self.acking:
            self.redis.hset(channels.ack_key(self.node), mapping=acks)

    def _chunk(self, report: Report, data: bytes, acks: dict[Any, Any]) -> None:
        key = (report.instance, report.attempt, report.stream)
        assert report.end - report.start == len(data)
        held = self.data.setdefault(key, bytearray())
        if report.start > len(held):
            self.gaps.append((key, len(held), report.start))
            acks[channels.reread_field(*key)] = f"{len(held)}:{secrets.token_hex(4)}"
            return
        fresh = data[len(held) - report.start :]
        again = data[: len(data) - len(fresh)]
        assert held[report.start : report.start + len(again)] == again, "resent bytes differ"
        held += fresh
        acks[channels.ack_field(*key)] = len(held)

    def _left_out(self, report: Report, lines: int, acks: dict[Any, Any]) -> None:
        """Zeros stand for bytes that are not sent."""
        key = (report.instance, report.attempt, report.stream)
        held = self.data.setdefault(key, bytearray())
        if report.start == len(held):
            self.left_out.append((report.start, report.end, lines))
            held += bytes(report.end - report.start)
        elif report.end > len(held):
            acks[channels.reread_field(*key)] = f"{len(held)}:{secrets.token_hex(4)}"
            return
        acks[channels.ack_field(*key)] = len(held)

    def bytes_of(self, instance: int, attempt: int, stream: str) -> bytes:
        with self._lock:
            return bytes(self.data.get((instance, attempt, stream), b""))

    def phases(self, instance: int, attempt: int = 1) -> list[PhaseChange]:
        """Phase changes in the order of the journal, resent ones once."""
        with self._lock:
            found = {
                report.end: report.body
                for report in self.reports
                if isinstance(report.body, PhaseChange)
                and (report.instance, report.attempt) == (instance, attempt)
            }
        return [found[seq] for seq in sorted(found)]

    def phase_names(self, instance: int, attempt: int = 1) -> list[str]:
        return [change.phase.value for change in self.phases(instance, attempt)]

    def wait_phase(
        self, phase: Phase, instance: int, attempt: int = 1, *, timeout_s: float = 30.0
    ) -> PhaseChange:
        def found() -> PhaseChange | None:
            matching = [one for one in self.phases(instance, attempt) if one.phase is phase]
            return matching[-1] if matching else None

        change: PhaseChange = wait_for(found, timeout_s=timeout_s, what=f"phase {phase}")
        return change

    def of(self, kind: type[Any], instance: int = 0) -> list[Any]:
        with self._lock:
            return [
                one.body
                for one in self.reports
                if isinstance(one.body, kind) and one.instance == instance
            ]

    def result(self, command_id: str, *, timeout_s: float = 20.0) -> CommandResult:
        def found() -> CommandResult | None:
            with self._lock:
                for report in self.reports:
                    if isinstance(report.body, CommandResult) and report.body.command == command_id:
                        return report.body
            return None

        result: CommandResult = wait_for(found, timeout_s=timeout_s, what=f"result {command_id}")
        return result

    def manifests(self, instance: int) -> list[Files]:
        return self.of(Files, instance)

    def heartbeats(self) -> list[Heartbeat]:
        return self.of(Heartbeat)

    def wait_whole(
        self, instance: int, attempt: int = 1, *, timeout_s: float = 30.0
    ) -> PhaseChange:
        """The ENDED phase, once all the bytes that it announces are here."""
        ended = self.wait_phase(Phase.ENDED, instance, attempt, timeout_s=timeout_s)
        wait_for(
            lambda: all(
                len(self.bytes_of(instance, attempt, stream)) == ended.sizes.get(stream, 0)
                for stream in FILE_STREAMS
            ),
            timeout_s=timeout_s,
            what=f"all bytes of {ended.sizes}",
        )
        return ended


class _Handler(BaseHTTPRequestHandler):
    """One request to the plane that the server was made for."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, *_args: object) -> None:
        """Quiet."""

    def _refuse(self, status: int, error_id: str) -> None:
        body = {"error": {"id": error_id, "message": "No.", "fields": {}}}
        self._send(status, json.dumps(body).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @property
    def _is_known(self) -> bool:
        return self.headers["Authorization"] == f"Bearer {TOKEN}"

    def do_POST(self) -> None:
        plane = self.server.plane
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        plane.joins.append(json.loads(raw))
        if not self._is_known:
            self._refuse(401, "agent:token_wrong")
        elif plane.join_status != 200:
            self._refuse(plane.join_status, "agent:refused")
        else:
            answer = JoinAnswer(
                cluster=plane.cluster,
                redis_url=plane.redis_url,
                file_key=plane.file_key.hex(),
                clock=time.time() + plane.clock_skew_s,
                heartbeat_s=0.3,
                sample_s=0.3,
            )
            self._send(200, msgspec.json.encode(answer))

    def do_GET(self) -> None:
        plane = self.server.plane
        asked = self.headers.get("Range", "")
        plane.requests.append((self.path, asked))
        content = plane.inputs.get(self.path)
        if content is None or not self._is_known:
            self._refuse(404 if content is None else 401, "agent:input")
            return
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        body = content[begin:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: plane.cut_after] if plane.cut_after else body)
        self.close_connection = bool(plane.cut_after)


class _Server(ThreadingHTTPServer):
    def __init__(self, plane: Plane) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.plane = plane


class AgentProcess:
    """``python -m nodeagent`` as it is started in earnest, with this Python as the trainers' one."""

    def __init__(self, plane: Plane, folder: Path, *, models: Path, **more: str) -> None:
        self.plane = plane
        self.folder = folder
        self.log = folder.parent / "agent.log"
        self._models = models
        self._more = more
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> "AgentProcess":
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "LORAFORGE_NODE_TOKEN": TOKEN,
            "LORAFORGE_SWIFT_PYTHON": sys.executable,
            "LORAFORGE_MODEL_ROOTS": str(self._models),
            "LORAFORGE_RUNTIME": "process",
            **self._more,
        }
        beats = len(self.plane.heartbeats())
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "nodeagent", "--name", self.plane.node),
                    *("--server", self.plane.url, "--data", str(self.folder)),
                ],
                env=environ,
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )
        if wait:
            wait_for(lambda: len(self.plane.heartbeats()) > beats, what="a heartbeat")
        return self

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def end(self) -> int:
        """SIGTERM, as a keeper does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def close(self) -> None:
        """End agent and trainers, whatever happened before."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        for pids in self.folder.glob("jobs/*/a*/run/pids"):
            for pid in pids.read_text().split():
                try:
                    os.killpg(int(pid), signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    continue


def start_command(
    instance: int, argv: list[str], *, attempt: int = 1, spec: str = "s1", **more: Any
) -> Start:
    """A start with a device of its own for every instance number modulo the two CPU slots."""
    given: dict[str, Any] = {
        "id": f"start-{instance}-{attempt}-{spec}",
        "devices": [f"cpu-{instance % 2}"],
        **more,
    }
    return Start(instance=instance, attempt=attempt, argv=argv, spec_hash=spec, **given)
