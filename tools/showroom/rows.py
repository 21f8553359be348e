"""Rows of a platform in use: every state, long names, both languages. Only ``__main__`` calls this, after setup."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from loraforge.accounts.models import ApiToken, Role, User
from loraforge.artifacts.models import BestCheckpoint, OutputFile, ResultCopy, ResultSaving
from loraforge.datasets.models import Dataset, DatasetState
from loraforge.instances.models import Attempt, DeviceLease, Instance, InstanceEvent
from loraforge.instances.states import ACTIVE, TERMINAL, State
from loraforge.nodes.models import Device, DeviceKind, Node, NodeState
from loraforge.telemetry.models import MetricRow, Sample
from loraforge.telemetry.pieces import Piece
from loraforge.telemetry.services import chunk_store, chunks_store
from loraforge.training.models import Command, Job, JobDataset
from tools.showroom import costs, curves, moves, recipes, waiting

GIB = 2**30
BEST_STEP = 600
SAMPLES = 90
START_S = 21  # from the assignment to a running container
FIRST_STEP_S = 55
AHEAD = timedelta(hours=1)
QWEN = "Qwen/Qwen2.5-7B-Instruct"
LONG_NAME = "customer-service-zh-en-mixed-instructions-v7-deduplicated-lora-r64-all-linear-lr2e-4-warmup3pct-seed42"
TURNS = [
    {"role": "system", "content": "你是一名售后客服，回答要简短、准确。"},
    {"role": "user", "content": "我的订单已经三天没有发货了，可以帮我催一下吗？"},
    {
        "role": "assistant",
        "content": "好的，已为您登记催单，仓库会在 24 小时内发货。请留意短信通知。",
    },
]


@dataclass
class Show:
    """What was made so far, and the moment at which all of it stands."""

    now: datetime
    people: dict[str, User] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    datasets: list[Dataset] = field(default_factory=list)


def fill(*, password: str) -> None:
    """Everything; into a database that holds nothing yet."""
    show = Show(now=timezone.now())
    _people(show, password)
    _nodes(show)
    _datasets(show)
    _jobs(show)
    _samples(show)
    moves.fill(
        now=show.now,
        operator=show.people["carol"],
        source=show.nodes["lab-workstation"],
        target=show.nodes["gpu-a100-01"],
        moves=Instance.objects.get(name="moves-to-another-node"),
        failed=Instance.objects.get(name="node-does-not-answer"),
    )
    costs.fill(
        now=show.now,
        person=show.people["alice"],
        cards={
            card.name for node in show.nodes.values() for card in node.devices.all() if card.name
        },
    )
    recipes.fill(people=show.people, datasets=show.datasets)
    waiting.fill(now=show.now, people=show.people, nodes=show.nodes)


def _people(show: Show, password: str) -> None:
    roles = {
        "alice": Role.RESEARCHER,
        "bob.long-user-name": Role.RESEARCHER,
        "carol": Role.OPERATOR,
    }
    for name, role in {
        **roles,
        "root": Role.ADMIN,
        "vera": Role.VIEWER,
        "nina": Role.RESEARCHER,
    }.items():
        user = User(username=name, role=role, is_staff=role in {Role.OPERATOR, Role.ADMIN})
        user.is_superuser = role == Role.ADMIN
        user.set_password(password)
        user.save()
        show.people[name] = user
    for name in ("nightly evaluation on the cluster", "laptop"):
        text = f"{ApiToken.PREFIX}{name}"
        ApiToken.objects.create(
            owner=show.people["alice"], name=name, digest=ApiToken.digest_of(text)
        )


def _nodes(show: Show) -> None:
    a100, ada = "NVIDIA A100-SXM4-80GB", "NVIDIA GeForce RTX 4090"
    for name, gpus, card, memory, changes in (
        ("gpu-a100-01", 4, a100, 80, {}),
        ("gpu-4090-02", 2, ada, 24, {"cordoned": True}),
        (
            "h100-rack7-row3-training-cluster-east",
            8,
            "NVIDIA H100 80GB HBM3",
            80,
            {"state": NodeState.LOST},
        ),
        ("lab-workstation", 0, "", 0, {"runtime": "process"}),
    ):
        given: dict[str, Any] = {
            "state": NodeState.ONLINE, "runtime": "docker", "hostname": f"{name}.lab.example",
            "agent_version": "0.9.0", "swift_version": "4.6.0", "driver_version": "550.54.15" if gpus else "",
            "cpu_count": 64, "memory_bytes": 512 * GIB, "disk_total_bytes": 4000 * 10**9,
            "disk_free_bytes": 1260 * 10**9, "joined_at": show.now - timedelta(days=40),
            "seen_at": show.now - timedelta(seconds=2), "token_digest": name, **changes,
        }  # fmt: skip
        if given["state"] == NodeState.LOST:
            given["seen_at"] = show.now - timedelta(hours=5)
        node = show.nodes[name] = Node.objects.create(name=name, **given)
        kind = DeviceKind.GPU if gpus else DeviceKind.CPU
        for index in range(gpus or 2):
            number = hashlib.sha256(f"{name}{index}".encode()).hexdigest()
            uuid = (
                f"GPU-{number[:8]}-{number[8:12]}-{number[12:16]}-{number[16:28]}"
                if gpus
                else f"cpu-{index}"
            )
            Device.objects.create(
                node=node, uuid=uuid, kind=kind, index=index, name=card, memory_bytes=memory * GIB
            )  # fmt: skip


STATISTICS = {
    "characters": 41_200_118, "tokens_sum": 19_804_512, "tokens_most": 7_912,
    "tokens": [1_204, 6_310, 14_077, 17_902, 6_511, 2_001, 190, 15], "roles": {"user": 61_004, "assistant": 61_004,
    "system": 48_210}, "turns": {"3": 41_000, "5": 7_210}, "empty_answers": 3, "duplicates": 412, "is_estimate": False,
}  # fmt: skip


def _datasets(show: Show) -> None:
    alice, bob = show.people["alice"], show.people["bob.long-user-name"]
    errors = [
        {"line": 17, "id": "rows:last_not_assistant", "params": {"column": "messages"}},
        {"line": 1204, "id": "rows:no_answer", "params": {"columns": "response"}},
        {"line": 88_120, "id": "rows:not_utf8", "params": {}},
    ]
    preview = [{"messages": TURNS}, {"messages": TURNS[1:]}, {"messages": [*TURNS, *TURNS[1:]]}]
    for owner, name, rows, size, changes in (
        (alice, "售后客服问答-清洗后.jsonl", 48_210, 61_400_000,
         {"preview": preview, "traits": ["answer"], "statistics": STATISTICS, "column_names": ["messages"]}),
        (alice, f"{LONG_NAME}-train-split-2026-11.jsonl", 1_204_882, 3_912_000_000, {"preview": preview}),
        (alice, "alpaca-broken-rows.jsonl", 0, 9_120_000,
         {"state": DatasetState.INVALID, "errors": errors, "error_count": 41}),
        (alice, "medical-notes.jsonl", 8_800, 12_000_000,
         {"row_format": "query_response", "preview": [{"query": "What is DPO?", "response": "A way to align."}]}),
        (bob, "wiki-zh.jsonl", 310_000, 820_000_000, {"row_format": "text"}),
        (alice, "preference-pairs", 12_400, 30_100_000,
         {"state": DatasetState.INVALID, "row_format": "", "file_format": "csv", "version": 2,
          "errors": [{"line": 1, "id": "rows:unknown_columns", "params": {"columns": "ask, chosen, rejected"}}],
          "error_count": 12_400, "column_names": ["ask", "chosen", "rejected"], "notes": ["rows:converted"]}),
    ):  # fmt: skip
        given = {"state": DatasetState.READY, "row_format": "messages", **changes}
        digest = hashlib.sha256(name.encode()).hexdigest()
        show.datasets.append(
            Dataset.objects.create(
                owner=owner, name=name, rows=rows, size_bytes=size, sha256=digest,
                storage_name=f"datasets/{digest[:8]}", **given,
            )
        )  # fmt: skip
    show.datasets.append(
        Dataset.objects.create(
            owner=alice, name="AI-ModelScope/alpaca-gpt4-data-zh#500", kind=Dataset.Kind.REMOTE,
            state=DatasetState.READY, remote_id="AI-ModelScope/alpaca-gpt4-data-zh#500",
        )
    )  # fmt: skip


def _jobs(show: Show) -> None:
    alice, bob = "alice", "bob.long-user-name"
    oom = (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total capacity of "
        "79.25 GiB of which 1.27 GiB is free."
    )
    no_device = {
        "wait_reason": "scheduling:no_free_device",
        "wait_detail": {"needed": 1, "free": 0},
    }
    for owner, name, state, step, changes in (
        (alice, "qwen2.5-7b-first-try", State.DRAFT, 0, {}),
        (alice, LONG_NAME, State.SUCCEEDED, 3000, {"hours": 52}),
        (alice, "max-length-32k", State.FAILED, 45,
         {"failure_reason": "user:gpu_out_of_memory", "failure_detail": oom, "exit_code": 1, "hours": 26}),
        (alice, "rank-64-all-linear", State.STOPPED, 900, {"saved_step": 900, "hours": 20}),
        (bob, "wiki-zh-pretraining", State.RUNNING, 610, {"devices": 2, "hours": 2, "model": "/models/Qwen3-32B"}),
        (alice, "h100-evening-run", State.LOST, 1500, {"hours": 9, "node": "h100-rack7-row3-training-cluster-east"}),
        (alice, "客服问答-Qwen2.5-7B-第三轮", State.RUNNING, 1240, {"hours": 1.5}),
        (alice, "llama3-8b-dpo-warmup", State.QUEUED, 0,
         {"wait_reason": "scheduling:user_cap", "wait_detail": {"running": 1, "cap": 1}}),
        (alice, "qwen3-32b-qlora-8-gpus", State.QUEUED, 0,
         {"wait_reason": "scheduling:never_fits", "wait_detail": {"needed": 8, "most": 4}, "devices": 8}),
        (bob, "preparing-on-workstation", State.PREPARING, 0, {"node": "lab-workstation", "hours": 0.01}),
        (bob, "node-does-not-answer", State.UNKNOWN, 420, {"node": "gpu-4090-02", "hours": 3}),
        (bob, "wiki-zh-second-epoch", State.QUEUED, 0, {**no_device, "devices": 2}),
        (alice, "客服问答-多轮-DPO", State.QUEUED, 0, no_device),
        ("carol", "nightly-regression-of-the-chat-model", State.QUEUED, 0, no_device),
        (bob, "moves-to-another-node", State.RUNNING, 880, {"node": "lab-workstation", "hours": 2.5}),
    ):  # fmt: skip
        _job(show, show.people[owner], name, {"state": state, "step": step, **changes})


def _job(show: Show, owner: User, name: str, given: dict[str, Any]) -> None:
    state, step = given.pop("state"), given.pop("step")
    hours = given.pop("hours", 0)
    devices = given.pop("devices", 1)
    node = show.nodes[given.pop("node", "gpu-a100-01")]
    model = given.pop("model", QWEN)
    began = show.now - timedelta(hours=hours)
    placed = state in ACTIVE | TERMINAL
    instance = Instance.objects.create(
        owner=owner, name=name, state=state, gpus=devices, processes=1 if state is State.QUEUED else devices,
        node=node if placed else None, attempt=1 if placed else 0, started_at=began if placed else None,
        queued_at=show.now, max_steps=3000 if step else 0, step=step, **given,
    )  # fmt: skip
    Instance.objects.filter(pk=instance.pk).update(created_at=began - timedelta(minutes=3))
    arguments = {
        "tuner_type": "lora", "lora_rank": 16, "lora_alpha": 32, "num_train_epochs": 3, "max_length": 2048,
        "target_modules": ["all-linear"], "system": TURNS[0]["content"], "split_dataset_ratio": 0.02,
        "per_device_train_batch_size": 4,
    }  # fmt: skip
    words: list[str] = []
    for key, value in arguments.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{key}", *map(str, values)]
    job = Job.objects.create(
        instance=instance, command=Command.SFT, model=model, model_hub="" if model[0] == "/" else "modelscope",
        model_type="qwen2", template="qwen2_5", arguments=arguments, catalogue_version="4.6.0",
        image="loraforge/swift:4.6.0", argv=["-m", "swift.cli.sft", "--model", model, *words],
    )  # fmt: skip
    JobDataset.objects.create(job=job, dataset=show.datasets[0], sha256=show.datasets[0].sha256)
    if placed:
        _attempt(show, instance, began)


def _attempt(show: Show, instance: Instance, began: datetime) -> None:
    node = instance.node
    assert node is not None  # noqa: S101 - placed jobs alone come here
    taken = set(DeviceLease.objects.filter(node=node).values_list("device_uuid", flat=True))
    free = [device.uuid for device in node.devices.all() if device.uuid not in taken]
    ended = None
    if instance.state in TERMINAL:
        ended = began + timedelta(seconds=instance.step * curves.SECONDS_PER_STEP + 90)
        Instance.objects.filter(pk=instance.pk).update(ended_at=ended)
    attempt = Attempt.objects.create(
        instance=instance, number=1, node=node, devices=free[: instance.gpus], exit_code=instance.exit_code,
        preparing_at=began, running_at=began + timedelta(seconds=START_S), ended_at=ended, phase="preparing",
        failure_reason=instance.failure_reason, failure_detail=instance.failure_detail,
    )  # fmt: skip
    Attempt.objects.filter(pk=attempt.pk).update(assigned_at=began)
    if ended is None:
        for uuid in attempt.devices:
            DeviceLease.objects.create(node=node, device_uuid=uuid, attempt=attempt)
    _events(instance, began, ended)
    if instance.step:
        _output(instance, attempt, began)
        # to take up the metrics says that the first step was now
        first = began + timedelta(seconds=FIRST_STEP_S)
        Attempt.objects.filter(pk=attempt.pk).update(first_step_at=first)


def _events(instance: Instance, began: datetime, ended: datetime | None) -> None:
    path = [State.QUEUED, State.ASSIGNED, State.PREPARING, State.RUNNING]
    moments = [began + timedelta(seconds=seconds) for seconds in (-170, 0, 1, START_S)]
    if ended is not None:
        path.append(State(instance.state))
        moments.append(ended)
    before = State.DRAFT
    for state, moment in zip(path, moments, strict=True):
        InstanceEvent.objects.create(
            instance=instance, attempt=0 if state is State.QUEUED else 1, source=before, target=state, at=moment,
            actor=instance.owner if state is State.QUEUED else None,
            reason=instance.failure_reason if state is State.FAILED else "",
        )  # fmt: skip
        before = state


def _output(instance: Instance, attempt: Attempt, began: datetime) -> None:
    step, most = instance.step, instance.max_steps
    metrics = curves.as_lines(curves.metric_rows(until=step, most=most, seed=instance.pk))
    chunk_store(attempt=attempt, stream="metric", start=0, end=len(metrics), data=metrics)
    rows = list(MetricRow.objects.filter(attempt=attempt))
    for row in rows:
        row.at = began + timedelta(seconds=60 + (row.step or 0) * curves.SECONDS_PER_STEP)
    MetricRow.objects.bulk_update(rows, ["at"], batch_size=200)
    first_step = began + timedelta(seconds=60)
    Attempt.objects.filter(pk=attempt.pk).update(first_step_at=first_step)
    console = curves.console(until=step, most=most, ending=instance.failure_detail)
    for start in range(0, len(console), 200_000):
        piece = console[start : start + 200_000]
        chunk_store(attempt=attempt, stream="log", start=start, end=start + len(piece), data=piece)
    if instance.state == State.STOPPED:
        _left_out(attempt, len(console))
    _checkpoints(attempt, step)
    for name, size in (
        ("console.log", len(console)),
        ("output/logging.jsonl", len(metrics)),
        ("output/args.json", 18_442),
    ):
        OutputFile.objects.create(attempt=attempt, path=name, size_bytes=size, sha256="a" * 64)
    if instance.state == State.SUCCEEDED:
        _saved(instance)
    if step >= BEST_STEP:
        BestCheckpoint.objects.create(attempt=attempt, step=BEST_STEP, metric=0.71)


def _checkpoints(attempt: Attempt, step: int) -> None:
    for saved in range(300, step + 1, 300):
        # one that was cut off while it was saved
        states = () if saved == BEST_STEP else (("rng_state.pth", 14_244),)
        for name, size in (
            *states, ("adapter_model.safetensors", 161_533_192), ("adapter_config.json", 912),
            ("optimizer.pt", 323_291_602), ("scheduler.pt", 1465), ("trainer_state.json", 181_004),
        ):  # fmt: skip
            path = f"output/checkpoint-{saved}/{name}"
            digest = hashlib.sha256(f"{attempt.instance_id}{path}".encode()).hexdigest()
            OutputFile.objects.create(attempt=attempt, path=path, size_bytes=size, sha256=digest)


def _left_out(attempt: Attempt, at: int) -> None:
    """A burst of lines that the rate cap kept back, and one line behind it."""
    end, last = at + 52_000, b"{'loss': 0.71} after the burst\n"
    pieces = [Piece(at, end, b"", 812), Piece(end, end + len(last), last)]
    chunks_store(attempt=attempt, stream="log", pieces=pieces)


def _saved(instance: Instance) -> None:
    """Its results are on the platform, but for one that is too large."""
    now = timezone.now()
    ResultSaving.objects.create(
        instance=instance, wanted_at=now, planned_at=now, next_at=now, done_at=now
    )
    for file in OutputFile.objects.filter(attempt__instance=instance).order_by("-pk")[:9]:
        is_large = file.path.endswith("optimizer.pt")
        state = ResultCopy.State.TOO_LARGE if is_large else ResultCopy.State.KEPT
        ResultCopy.objects.create(file=file, state=state, kept_at=None if is_large else now)


def _samples(show: Show) -> None:
    for node in show.nodes.values():
        if node.state == NodeState.LOST:
            continue
        held = {
            lease.device_uuid: lease.attempt
            for lease in DeviceLease.objects.filter(node=node, released_at=None).select_related(
                "attempt"
            )
        }
        cards = [device for device in node.devices.all() if device.kind == DeviceKind.GPU]
        for number in range(SAMPLES):
            wave = (number * 37 % 17) / 17
            gpus = [
                {
                    "uuid": card.uuid,
                    "utilization_percent": 86 + 12 * wave if card.uuid in held else 0.0,
                    "memory_used_bytes": int(
                        (61 if card.uuid in held else 0.4) * GIB * card.memory_bytes / (80 * GIB)
                    ),
                    "memory_total_bytes": card.memory_bytes,
                    "temperature_c": (66 if card.uuid in held else 34) + 3 * wave,
                    "power_w": 340 + 40 * wave if card.uuid in held else 58.0,
                }
                for card in cards
            ]
            host = {
                "cpu_percent": 21 + 9 * wave, "memory_used_bytes": int((188 + wave) * GIB),
                "memory_total_bytes": 512 * GIB, "disk_free_bytes": node.disk_free_bytes,
                "disk_total_bytes": node.disk_total_bytes, "load_1m": 12.5,
            }  # fmt: skip
            jobs = [
                {"instance": attempt.instance_id, "attempt": attempt.number, "cpu_percent": 180 + 60 * wave,
                 "memory_bytes": int(24 * GIB + wave * GIB), "processes": 9}
                for attempt in set(held.values())
            ]  # fmt: skip
            # Ahead of now, so that every page still finds a fresh reading when it is opened.
            at = show.now + AHEAD - timedelta(seconds=2 * (SAMPLES - number))
            Sample.objects.create(
                node=node, at=at, values={"host": host, "gpus": gpus, "jobs": jobs}
            )
