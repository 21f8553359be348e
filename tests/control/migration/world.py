"""Two nodes and what lies on them, as their agents would be: they do what the outbox says, late, twice or never."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from loraforge.artifacts.models import OutputFile, ResultSaving
from loraforge.artifacts.services import manifest_store
from loraforge.core.models import OutboxMessage
from loraforge.gateway import dispatch
from loraforge.gateway.inbound import phase_apply
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.services import CHECKPOINT_TASK, REMOVE_TASK, START_TASK, STOP_TASK
from loraforge.instances.states import ACTIVE
from loraforge.migration.models import Migration
from loraforge.migration.services import staged_store
from loraforge.nodes.models import Node
from nodeagent.contract.commands import Command, Remove, Stage, Start
from nodeagent.contract.phases import Outcome, Phase
from nodeagent.contract.reports import File, PhaseChange, Staged, staged_digest

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = (
    "adapter_config.json", "adapter_model.safetensors", "optimizer.pt", "rng_state.pth",
    "scheduler.pt", "trainer_state.json",
)  # fmt: skip


@dataclass
class World:
    """running: (attempt, node) of each trainer. kept: checkpoint step -> names of nodes that have it whole."""

    instance_id: int
    running: set[tuple[int, str]] = field(default_factory=set)
    step: int = 0
    kept: dict[int, set[str]] = field(default_factory=dict)
    saved: dict[int, set[int]] = field(default_factory=dict)
    sent: list[tuple[str, Command]] = field(default_factory=list)
    starts: Counter[int] = field(default_factory=Counter)
    staged: dict[str, list[Staged]] = field(default_factory=dict)
    seq: int = 0
    bad_copy: bool = False
    start_fails: bool = False

    # -- what must hold at every moment

    def check(self) -> None:
        assert len(self.running) <= 1, self.running
        assert any(self.kept.values()), "no copy of any checkpoint is left"
        assert max(self.starts.values(), default=0) <= 1, self.starts
        live = Attempt.objects.filter(leases__released_at=None, instance=self.instance_id)
        trains = {number for number, _node in self.running}
        assert trains <= set(live.values_list("number", flat=True)), "it trains without a lease"
        instance = Instance.objects.get(pk=self.instance_id)
        resumable = OutputFile.objects.filter(
            attempt__instance=instance, removed_at=None, path__endswith="optimizer.pt"
        )
        assert resumable.exists(), "SQL knows no checkpoint any more"

    # -- the nodes

    def command(self, *, node: Node, command: Command) -> None:
        """In place of `nodelink.command_send`."""
        self.sent.append((node.name, command))

    def deliver(self, *, twice: bool = False) -> None:
        """The relay publishes, control workers send, nodes do. twice: every message comes again."""
        messages = list(OutboxMessage.objects.filter(kind="task").order_by("pk"))
        for message in messages * (2 if twice else 1):
            self._task(message.target, dict(message.payload))
        OutboxMessage.objects.filter(pk__in=[one.pk for one in messages]).delete()

    def _task(self, name: str, facts: dict[str, Any]) -> None:
        senders: dict[str, Callable[..., bool]] = {
            START_TASK: dispatch.start_send,
            STOP_TASK: dispatch.stop_send,
            CHECKPOINT_TASK: dispatch.checkpoint_send,
            REMOVE_TASK: dispatch.remove_send,
            "gateway.stage_send": dispatch.stage_send,
        }
        send = senders.get(name)
        if send is None:
            return
        before = len(self.sent)
        send(**facts)
        for node, command in self.sent[before:]:
            self._do(node, command)

    def _do(self, node: str, command: Command) -> None:
        match command:
            case Start():
                self._start(node, command)
            case Stage():
                self._stage(node, command)
            case Remove():
                at = Attempt.objects.filter(instance=command.instance, node__name=node)
                numbers = set(at.values_list("number", flat=True))
                assert not any(one in self.running for one in ((n, node) for n in numbers))
                for places in self.kept.values():
                    places.discard(node)
            case _ if command.id.startswith("stop"):
                self._end(node, command.attempt)
            case _:
                if (command.attempt, node) in self.running:
                    self.save(node, command.attempt, complete=False)

    def _start(self, node: str, command: Start) -> None:
        attempt = Attempt.objects.get(instance=command.instance, number=command.attempt)
        if attempt.phase:
            return  # known, as the agent's journal knows it
        if command.attempt > 1:
            folder = command.argv[command.argv.index("--resume_from_checkpoint") + 1]
            self.step = int(folder.rpartition("-")[2])
            assert {one.sha256 for one in command.inputs} >= set(_hashes(self.step))
            assert self.kept[self.step], "it begins from what nobody has"
        self.starts[command.attempt] += 1
        if self.start_fails and node == "n2":
            self._phase(attempt, Phase.REFUSED, reason="node:disk_full")
            return
        self.running.add((command.attempt, node))
        self._phase(attempt, Phase.RUNNING)

    def trains(self, steps: int) -> None:
        """The trainer comes further, and its first step is told."""
        for number, _node in self.running:
            self.step += steps
            rows = Attempt.objects.filter(instance=self.instance_id, number=number)
            rows.filter(first_step_at=None).update(first_step_at=timezone.now())
            Instance.objects.filter(pk=self.instance_id, attempt=number).update(
                step=self.step, max_steps=100
            )

    def save(self, node: str, number: int, *, complete: bool) -> None:
        """A checkpoint of now, and the manifest."""
        self.kept.setdefault(self.step, set()).add(node)
        steps = self.saved.setdefault(number, set())
        steps.add(self.step)
        attempt = Attempt.objects.get(instance=self.instance_id, number=number)
        files = [file for step in sorted(steps) for file in _files(step)]
        manifest_store(attempt=attempt, files=files, complete=complete)

    def _end(self, node: str, number: int) -> None:
        if (number, node) not in self.running:
            return
        self.save(node, number, complete=True)
        self.running.discard((number, node))
        attempt = Attempt.objects.get(instance=self.instance_id, number=number)
        self._phase(attempt, Phase.ENDED, exit_code=0, outcome=Outcome.STOPPED)

    def _phase(self, attempt: Attempt, phase: Phase, **facts: Any) -> None:
        self.seq += 1
        at = timezone.now().timestamp()
        phase_apply(attempt=attempt, change=PhaseChange(phase=phase, **facts), seq=self.seq, at=at)

    def _stage(self, node: str, command: Stage) -> None:
        hashes = [one.sha256 for one in command.inputs]
        if self.bad_copy:
            hashes = ["0" * 64]
        size = sum(one.size_bytes for one in command.inputs)
        done = Staged(
            id=command.id, done_bytes=size, total_bytes=size, digest=staged_digest(hashes)
        )
        self.staged[node] = [*self.staged.get(node, []), done]
        for step in self.kept:
            if set(_hashes(step)) <= set(hashes):
                self.kept[step].add(node)

    def heartbeats(self) -> None:
        """And the results of what has ended are saved."""
        ResultSaving.objects.filter(done_at=None).update(done_at=timezone.now())
        for node in Node.objects.all():
            staged_store(node=node, staged=self.staged.get(node.name, []))

    # -- what a test asks

    @property
    def migration(self) -> Migration:
        return Migration.objects.select_related("source", "target").get()

    @property
    def instance(self) -> Instance:
        return Instance.objects.select_related("node").get(pk=self.instance_id)

    @property
    def where(self) -> set[str]:
        return {node for _attempt, node in self.running}

    @property
    def is_active(self) -> bool:
        return self.instance.state in {str(state) for state in ACTIVE}


def _hashes(step: int) -> list[str]:
    return [f"{step:032x}{place:032x}" for place in range(len(NAMES))]


def _files(step: int) -> list[File]:
    return [
        File(path=f"output/checkpoint-{step}/{name}", size_bytes=10, sha256=sha256, modified_at=1.0)
        for name, sha256 in zip(NAMES, _hashes(step), strict=True)
    ]
