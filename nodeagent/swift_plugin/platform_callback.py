"""SWIFT plugin: checkpoints by the clock and on request, an orderly stop, and strict JSON events.

SWIFT 4.6 imports this file (`--external_plugins`) and switches it on (`--callbacks platform`).
SIGUSR1 or a file `save` in the control folder saves at the next step and goes on; SIGTERM or a file
`stop` saves and ends the training, and so does the fence (lf_fence.py). Under DDP all ranks take the same decision.

Environment:
  CB_EVENTS         file that events are appended to (default: <output_dir>/events.jsonl)
  CB_CONTROL_DIR    folder of the control files; none = only signals
  CB_SAVE_EVERY_S   save when so much time passed since the last checkpoint; 0 = off
  CB_SECRETS        JSON file, name of an environment variable -> its value, taken into the environment
  CB_EXIT_CODE      exit code after a stop of a training in one process (torchrun has its own)

Events, one JSON object a line, never NaN, written by rank 0: plugin_loaded (the imports are done),
train_begin (pid), log (the metrics), saving (a checkpoint is about to be written), checkpoint (path,
reason; it is whole), then either stopped (reason, checkpoint) or train_end. Each has event, time (seconds
since 1970), step, max_steps and epoch.
PPO is an exception: SWIFT 4.6 drops the callbacks there, so only plugin_loaded comes.
"""

import atexit
import json
import math
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from lf_fence import fence_make
from swift.callbacks import TrainerCallback, callbacks_map

# In SWIFT's log of a metric line too, and the same as our own step, max_steps and epoch.
REPEATED = ("global_step/max_steps", "epoch")
EX_FENCED = 75
FIXED = ("event", "time", "step", "max_steps", "epoch")


def clean(value: Any) -> Any:
    """A value as strict JSON: NaN and infinities become null, tensors their number."""
    if hasattr(value, "item") and getattr(value, "numel", lambda: 1)() == 1:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def write_event(path: Path, event: str, row: dict[str, Any]) -> None:
    """Append one line in one write, so that a reader never sees half of it from two writers."""
    place = {"step": 0, "max_steps": 0, "epoch": 0}
    whole = {"event": event, "time": round(time.time(), 3), **place, **row}
    cleaned = {key: clean(value) for key, value in whole.items()}
    line = json.dumps(cleaned, ensure_ascii=False, allow_nan=False) + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


class Request:
    """What was asked from outside the trainer, by signal, control file or clock."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.save = False
        self.stop = False
        self.reason = ""
        self.is_training = False
        self.has_trained = False
        self.exit_code = 0

    def on_save(self, _signum: int, _frame: FrameType | None) -> None:
        if os.getpid() == self.pid:
            self.ask("save", "signal")

    def on_stop(self, signum: int, _frame: FrameType | None) -> None:
        """Before the first step there is nothing to save: end at once, and say so."""
        if os.getpid() != self.pid:  # a data worker inherits this handler; let it die as it should
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        elif self.is_training:
            self.ask("stop", "signal")
        else:
            leave_before_training("signal")

    def on_fence(self) -> None:
        """In the fence's thread. What has trained only writes its result, and may until the fence's end."""
        if self.is_training:
            self.ask("stop", "fence")
        elif not self.has_trained:
            leave_before_training("fence")

    def ask(self, what: str, reason: str) -> None:
        setattr(self, what, True)
        self.reason = reason

    def poll(self, folder: Path) -> None:
        """Take the control files; a file is taken once."""
        for what in ("save", "stop"):
            try:
                (folder / what).unlink()
            except FileNotFoundError:
                continue
            except OSError as error:
                sys.stderr.write(f"Control file {what} cannot be taken: {error}\n")
                continue
            self.ask(what, "control")


class PlatformCallback(TrainerCallback):
    """What SWIFT's trainer calls; one object a process."""

    def __init__(self, args: Any, trainer: Any) -> None:
        super().__init__(args, trainer)
        self.save_every_s = float(os.environ.get("CB_SAVE_EVERY_S", "0"))
        folder = os.environ.get("CB_CONTROL_DIR")
        self.control_folder = Path(folder) if folder else None
        self.events = EVENTS or Path(args.output_dir) / "events.jsonl"
        self.saved_at = time.monotonic()
        self.last_checkpoint: str | None = None
        self.is_stopping = False
        self.group: Any = None

    def emit(self, event: str, state: Any, row: dict[str, Any] | None = None) -> None:
        if state.is_world_process_zero:
            place = {"step": state.global_step, "max_steps": state.max_steps, "epoch": state.epoch}
            metrics = {key: value for key, value in (row or {}).items() if key not in FIXED}
            write_event(self.events, event, {**place, **metrics})

    def on_train_begin(self, args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        self.events.parent.mkdir(parents=True, exist_ok=True)
        signal.signal(signal.SIGUSR1, REQUEST.on_save)
        signal.signal(signal.SIGTERM, REQUEST.on_stop)  # another library may have taken it
        if is_distributed():  # flags go over the CPU, so that no step waits for the GPU's queue
            self.group = dist.new_group(backend="gloo")
        REQUEST.is_training = True
        self.saved_at = time.monotonic()
        self.emit("train_begin", state, {"pid": os.getpid(), "output_dir": args.output_dir})

    def on_step_end(self, _args: Any, state: Any, control: Any, **_kwargs: Any) -> Any:
        if self.control_folder is not None and state.is_world_process_zero:
            REQUEST.poll(self.control_folder)
        if self.save_every_s and time.monotonic() - self.saved_at >= self.save_every_s:
            REQUEST.ask("save", REQUEST.reason or "timer")
        wants_save, wants_stop = self.agree(REQUEST.save, REQUEST.stop)
        if wants_save or wants_stop:
            control.should_save = True
        if wants_stop:
            self.is_stopping = True
            control.should_training_stop = True
            control.should_evaluate = False  # a stop waits for its checkpoint, not for a validation
        self.saving(state, control)
        return control

    def on_epoch_end(self, _args: Any, state: Any, control: Any, **_kwargs: Any) -> Any:
        self.saving(state, control)
        return control

    def saving(self, state: Any, control: Any) -> None:
        """Said before the trainer writes, so that whoever waits for its end knows why it takes long."""
        if control.should_save:
            self.emit("saving", state)

    def agree(self, *flags: bool) -> list[bool]:
        """The flags of all ranks together: what one was asked, all do at the same step."""
        if self.group is None:
            return list(flags)
        shared = torch.tensor([int(flag) for flag in flags], dtype=torch.uint8)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX, group=self.group)
        return [bool(flag) for flag in shared.tolist()]

    def on_save(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> Any:
        self.saved_at = time.monotonic()
        self.last_checkpoint = f"{args.output_dir}/checkpoint-{state.global_step}"
        reason = REQUEST.reason or "schedule"
        self.emit("checkpoint", state, {"path": self.last_checkpoint, "reason": reason})
        REQUEST.save = False
        if not REQUEST.stop:
            REQUEST.reason = ""
        return control

    def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_kw: Any) -> None:
        metrics = {key: value for key, value in (logs or {}).items() if key not in REPEATED}
        self.emit("log", state, metrics)

    def on_train_end(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        REQUEST.is_training, REQUEST.has_trained = False, True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not self.is_stopping:
            self.emit("train_end", state)
            return
        # another rank, or a signal of the agent's, may have been first
        is_fenced = FENCE is not None and FENCE.is_over
        reason = "fence" if is_fenced else REQUEST.reason or "signal"
        self.emit("stopped", state, {"reason": reason, "checkpoint": self.last_checkpoint})
        if not is_distributed():
            REQUEST.exit_code = int(os.environ.get("CB_EXIT_CODE", "0"))


def is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_first_rank() -> bool:
    """Known before torch.distributed is set up: torchrun says it in the environment."""
    return os.environ.get("RANK", "0") in ("0", "-1")


def leave_before_training(reason: str) -> None:
    """A stop during imports or while the model loads."""
    if EVENTS is not None and is_first_rank():
        write_event(EVENTS, "stopped", {"reason": reason, "checkpoint": None})
    os._exit(int(os.environ.get("CB_EXIT_CODE", "0")))


def leave_fenced() -> None:
    """The last moment of the fence: whatever is under way ends. Not with 0, for torchrun waits for the others then."""
    if EVENTS is not None and is_first_rank():
        write_event(EVENTS, "stopped", {"reason": "fence", "checkpoint": None})
    os._exit(EX_FENCED)


def leave_with_code() -> None:
    """The last thing the process does after a stop: Python itself offers no exit code by then."""
    if REQUEST.exit_code and os.getpid() == REQUEST.pid:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(REQUEST.exit_code)


def secrets_take() -> None:
    """What the owner stored for services elsewhere; it came by a file, so that no command or log has it."""
    given = os.environ.get("CB_SECRETS")
    if given:
        os.environ.update(json.loads(Path(given).read_text(encoding="utf-8")))


secrets_take()
EVENTS = Path(os.environ["CB_EVENTS"]) if os.environ.get("CB_EVENTS") else None
REQUEST = Request()
FENCE = None
callbacks_map["platform"] = PlatformCallback
# A data worker started by spawn imports the plugins again; only the trainer itself speaks.
if multiprocessing.parent_process() is None:
    atexit.register(leave_with_code)
    signal.signal(signal.SIGTERM, REQUEST.on_stop)
    if EVENTS is not None and is_first_rank():
        write_event(EVENTS, "plugin_loaded", {"pid": os.getpid()})
    FENCE = fence_make(os.environ, stop=REQUEST.on_fence, end=leave_fenced)
    if FENCE is not None:
        FENCE.start()
