"""What a judged draft will take: memory of each GPU, steps, disk, and the time of like jobs that have ended."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.models import User
from loraforge.core.sizes import file_size, memory_size
from loraforge.datasets.models import Dataset
from loraforge.instances.models import Attempt
from loraforge.instances.states import State
from loraforge.nodes.models import DeviceKind
from loraforge.swift.catalogue import catalogue_load
from loraforge.swift.compiler import accumulation_default
from loraforge.swift.estimating.memory import UNKNOWN_METHODS, Memory, Plan, memory_of
from loraforge.swift.estimating.runs import Schedule, checkpoint_bytes, checkpoints_kept, steps_of
from loraforge.swift.estimating.shapes import Shape, shape_named
from loraforge.training.checks import Verdict
from loraforge.training.models import Job
from loraforge.training.modules import is_training

MINUTE_S = 60
LIKE_MOST = 50  # of the newest jobs of the same model are looked at
TUNERS = frozenset({"lora", "full"})
BITS = {"float32": 32.0, "bfloat16": 16.0, "float16": 16.0}
# What makes two jobs alike, beside model, job type, devices and processes.
ALIKE = (
    "tuner_type",
    "rlhf_type",
    "max_length",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
    "quant_bits",
    "torch_dtype",
    "deepspeed",
    "packing",
)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The card that the job would have: of the nodes that may host it, the one with the largest."""

    node: str
    gpu: str
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """None, wherever nobody knows.

    memory_bytes: on each GPU. fit: the largest card among those it may get, None without GPUs. fits: whether
    the memory suffices. steps: of the optimizer. checkpoint_bytes: of one, checkpoints_bytes: of all that
    stay. duration_s: by ``alike`` jobs that ended well.
    """

    memory: Memory | None = None
    fit: Fit | None = None
    steps: int | None = None
    checkpoint_bytes: int | None = None
    checkpoints_bytes: int | None = None
    duration_s: int | None = None
    alike: int = 0

    @property
    def memory_bytes(self) -> int | None:
        return self.memory.total if self.memory else None

    @property
    def fits(self) -> bool | None:
        if self.memory is None or self.fit is None:
            return None
        return self.memory.total <= self.fit.memory_bytes


class Asked:
    """A draft's arguments with SWIFT's defaults behind them."""

    def __init__(self, verdict: Verdict) -> None:
        self._given = verdict.arguments
        self._command = catalogue_load().commands[verdict.draft.command]
        self.world = max(1, verdict.draft.processes)

    def value(self, name: str) -> object:
        if name in self._given:
            return self._given[name]
        argument = self._command.argument(name)
        return argument.default if argument else None

    def number(self, name: str, otherwise: float) -> float:
        value = self.value(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return otherwise
        return float(value)

    def whole(self, name: str, otherwise: int) -> int:
        return int(self.number(name, otherwise))

    @property
    def batch(self) -> int:
        return max(1, self.whole("per_device_train_batch_size", 1))

    @property
    def accumulation(self) -> int:
        chosen = accumulation_default(rows=self.batch, world=self.world, rlhf_type=self.method)
        return max(1, self.whole("gradient_accumulation_steps", chosen))

    @property
    def method(self) -> str:
        return str(self.value("rlhf_type") or "")


def forecast_get(*, user: User, verdict: Verdict) -> Forecast:
    """What the draft will take. Two queries at most."""
    if not is_training(verdict.draft.command):
        return Forecast()
    asked = Asked(verdict)
    shape = shape_named(verdict.model)
    steps = steps_of(_schedule(asked, verdict))
    plan = _plan(asked, shape)
    one = _checkpoint(asked, shape)
    kept = checkpoints_kept(
        steps=steps,
        every=asked.number("save_steps", 500),
        strategy=str(asked.value("save_strategy")),
        epochs=asked.number("num_train_epochs", 1),
        limit=asked.whole("save_total_limit", 0) or None,
    )
    seconds = _seconds_a_step(user, verdict)
    return Forecast(
        memory=memory_of(plan) if plan else None,
        fit=_fit(verdict),
        steps=steps,
        checkpoint_bytes=one,
        checkpoints_bytes=one * kept if one is not None and kept is not None else None,
        duration_s=round(statistics.median(seconds) * steps) if seconds and steps else None,
        alike=len(seconds),
    )


def _schedule(asked: Asked, verdict: Verdict) -> Schedule:
    rows: int | None = sum(dataset.rows for dataset in verdict.datasets)
    is_told = all(one.kind != Dataset.Kind.REMOTE for one in verdict.datasets)
    if not is_told or verdict.arguments.get("dataset") or asked.value("streaming") is True:
        rows = None
    if rows is not None and asked.method == "grpo":
        rows *= max(1, asked.whole("num_generations", 1))
    has_own = bool(verdict.validation_datasets)
    return Schedule(
        rows=rows,
        split=0 if has_own else asked.number("split_dataset_ratio", 0),
        batch=asked.batch,
        accumulation=asked.accumulation,
        world=asked.world,
        epochs=asked.number("num_train_epochs", 1),
        max_steps=asked.whole("max_steps", -1),
        packs=asked.value("packing") is True,
    )


def _plan(asked: Asked, shape: Shape | None) -> Plan | None:
    """None where something that decides the memory is not known."""
    tuner, length = asked.value("tuner_type"), asked.whole("max_length", 0)
    is_known = tuner in TUNERS and asked.method not in UNKNOWN_METHODS
    if shape is None or length <= 0 or not is_known or asked.value("use_vllm") is True:
        return None
    sharding, offloads = _sharding(asked)
    bits = BITS.get(str(asked.value("torch_dtype")), 16.0)
    return Plan(
        shape=shape,
        is_full=tuner == "full",
        bits=asked.number("quant_bits", bits),
        rank=asked.whole("lora_rank", 8),
        batch=asked.batch,
        length=length + (asked.whole("max_completion_length", 0) if asked.method == "grpo" else 0),
        checkpointing=asked.value("gradient_checkpointing") is not False,
        accumulates=asked.accumulation > 1,
        method=asked.method,
        world=asked.world,
        sharding=sharding,
        offloads=offloads,
        is_eager=asked.value("attn_impl") == "eager",
    )


def _sharding(asked: Asked) -> tuple[str, bool]:
    told = str(asked.value("deepspeed") or "")
    for kind in ("zero1", "zero2", "zero3"):
        if kind in told:
            return kind, "offload" in told
    return ("fsdp", False) if asked.value("fsdp") else ("", False)


def _checkpoint(asked: Asked, shape: Shape | None) -> int | None:
    tuner = asked.value("tuner_type")
    if shape is None or tuner not in TUNERS:
        return None
    is_full = tuner == "full"
    rank = asked.whole("lora_rank", 8)
    return checkpoint_bytes(
        trained=shape.parameters if is_full else shape.lora_parameters(rank),
        is_full=is_full,
        width=4 if asked.value("torch_dtype") == "float32" else 2,
        model_only=asked.value("save_only_model") is True,
    )


def _fit(verdict: Verdict) -> Fit | None:
    """Among as many GPUs as asked for on one node the smallest counts; of the nodes the best one."""
    wanted, chosen = verdict.draft.devices_wanted, set(verdict.draft.gpu_uuids)
    found: list[Fit] = []
    for node, devices in verdict.room.devices.items():
        cards = [one for one in devices if one.kind == DeviceKind.GPU and one.memory_bytes]
        cards = [one for one in cards if not chosen or one.uuid in chosen]
        cards = sorted(cards, key=lambda one: -one.memory_bytes)[:wanted]
        if len(cards) == wanted and cards:
            last = cards[-1]
            found.append(Fit(node=node, gpu=last.name, memory_bytes=last.memory_bytes))
    return max(found, key=lambda one: (one.memory_bytes, one.node), default=None)


def _seconds_a_step(user: User, verdict: Verdict) -> list[float]:
    """Of ended jobs that the user may see and that were like this one, on cards of the names it may get."""
    names = {one.uuid: one.name for found in verdict.room.devices.values() for one in found}
    jobs = access.visible(user, Job.objects.filter(instance__deleted_at=None)).filter(
        command=verdict.draft.command,
        model=verdict.model,
        instance__state=State.SUCCEEDED,
        instance__gpus=verdict.draft.devices_wanted,
        instance__processes=verdict.draft.processes,
        instance__step__gt=1,
    )
    rows = (
        Attempt.objects.filter(
            instance__job__in=jobs, number=1, first_step_at__isnull=False, ended_at__isnull=False
        )
        .filter(instance__attempt=1)  # else its steps are those of all attempts
        .order_by("-pk")
        .values_list(
            "first_step_at", "ended_at", "devices", "instance__step", "instance__job__arguments"
        )[:LIKE_MOST]
    )
    wanted = _likeness(verdict.arguments)
    return [
        (ended - first).total_seconds() / (steps - 1)
        for first, ended, devices, steps, arguments in rows
        if first and ended and devices and devices[0] in names and _likeness(arguments) == wanted
    ]


def _likeness(arguments: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(arguments.get(name) for name in ALIKE)


def warning_of(forecast: Forecast) -> str:
    """That it will not fit, with remedies; "" while it does or nobody knows."""
    if forecast.fits is not False or forecast.memory_bytes is None or forecast.fit is None:
        return ""
    text = _(
        "It needs about %(need)s on each GPU; the largest it may get has %(have)s (%(gpu)s of %(node)s). "
        "Halve the batch size, keep gradient checkpointing on, choose QLoRA, or shorten the maximum length."
    )
    return text % {
        "need": memory_size(forecast.memory_bytes),
        "have": memory_size(forecast.fit.memory_bytes),
        "gpu": forecast.fit.gpu,
        "node": forecast.fit.node,
    }


def memory_said(forecast: Forecast) -> str:
    """Of each GPU, beside what the largest card has that it may get."""
    if forecast.memory_bytes is None:
        return _("unknown")
    need = memory_size(forecast.memory_bytes)
    if forecast.fit is None:
        return _("about %(need)s") % {"need": need}
    have = {"have": memory_size(forecast.fit.memory_bytes), "node": forecast.fit.node}
    return _("about %(need)s of %(have)s (%(node)s)") % {"need": need, **have}


def disk_said(forecast: Forecast) -> str:
    """Of the checkpoints that stay."""
    if forecast.checkpoints_bytes is None:
        return _("unknown")
    return _("about %(size)s") % {"size": file_size(forecast.checkpoints_bytes)}


def duration_said(forecast: Forecast) -> str:
    """By own history only."""
    if forecast.duration_s is None:
        return _("unknown")
    minutes = max(1, round(forecast.duration_s / MINUTE_S))
    words = {"minutes": minutes, "count": forecast.alike}
    return _("about %(minutes)s min, by %(count)s like it") % words
