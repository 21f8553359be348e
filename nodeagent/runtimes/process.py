"""Jobs as plain processes: no boundary between a job and this machine, for demo, tests and development.

A shim (shim.sh, leader of a session of its own) starts the trainer and writes down how it ended, so a
job outlives the agent, and an agent started later finds it by pid and start time.
"""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil

from nodeagent.contract import paths
from nodeagent.journal import Handle
from nodeagent.runtimes.base import Errand, Launch, RuntimeFault, Say, Signal, State, Usage
from nodeagent.runtimes.paths import real_paths
from nodeagent.runtimes.scratch import scratch_close, scratch_open
from nodeagent.workspace import SECRETS_FILE, JobFolder, UnsafePath, read_small

SHIM = Path(__file__).with_name("shim.sh")
MARKER = "LORAFORGE_JOB"  # names the job's folder in the environment of each of its processes
START_TIMEOUT_S = 60.0  # a machine may be very busy
ERRAND_MARKER = "LORAFORGE_ERRAND"  # names the agent's cache in the environment of its errands
ALREADY_STARTED = 97  # the shim's answer when another one was first
SCAN_EVERY_S = 0.5
KILLED = 128  # a shell adds the signal to it


def process_started(pid: int) -> int:
    """The kernel's start time of a living process, 0 when there is none (a zombie has ended)."""
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return _started_by_psutil(pid) if not Path("/proc/self/stat").exists() else 0
    fields = raw[raw.rindex(b")") + 2 :].split()  # the name before may hold blanks and brackets
    return 0 if fields[0] in {b"Z", b"X"} else int(fields[19])


def _started_by_psutil(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return 0
        return int(process.create_time() * 100)
    except psutil.Error:
        return 0


def free_port() -> int:
    """A TCP port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class ProcessRuntime:
    """Implements `nodeagent.runtimes.base.Runtime`.

    python: the interpreter of the training environment. cache: HOME and download caches of trainers.
    """

    name = "process"

    def __init__(
        self,
        *,
        python: Path,
        cache: Path,
        plugin_folder: Path,
        base_env: dict[str, str],
        hub_env: dict[str, str],
    ) -> None:
        self._hub_env = hub_env
        self._errands: dict[str, subprocess.Popen[bytes]] = {}
        self._python = python
        self._cache = cache
        self._plugin_folder = plugin_folder
        self._base_env = base_env
        self._lock = threading.Lock()
        self._children: dict[int, subprocess.Popen[bytes]] = {}  # to be reaped
        self._processes: dict[int, psutil.Process] = {}  # psutil measures CPU between two calls
        self._scanned: dict[str, tuple[float, bool]] = {}

    # -- starting

    def prepare(self, image: str, *, say: Say, cancelled: Callable[[], bool]) -> None:
        """Nothing: this runtime has one training environment and no images."""

    def start(self, launch: Launch) -> Handle:
        if not os.access(self._python, os.X_OK):
            raise RuntimeFault("runtime:python_missing", f"No Python at {self._python}.")
        try:
            environment = self._environment(launch)
        except OSError as error:
            raise RuntimeFault("runtime:start_failed", str(error)) from error
        command = [str(self._python), *self._argv(launch)]
        console = os.open(
            launch.folder.path / paths.CONSOLE_FILE,
            os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o644,
        )
        try:
            child = subprocess.Popen(
                ["/bin/sh", str(SHIM), str(launch.folder.run), *command],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd=launch.folder.path / "work",
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise RuntimeFault("runtime:start_failed", str(error)) from error
        finally:
            os.close(console)
        with self._lock:
            self._children[child.pid] = child
        try:
            return self._await_pids(launch, child)
        except BaseException:
            # a start that failed must have started nothing: the devices go to somebody else
            self._give_up(child)
            raise

    def _give_up(self, child: "subprocess.Popen[bytes]") -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # the shim leads the session
        child.wait()
        with self._lock:
            self._children.pop(child.pid, None)

    def _await_pids(self, launch: Launch, child: subprocess.Popen[bytes]) -> Handle:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            pids = self._pids(launch.folder)
            if pids is not None:
                shim, trainer = pids
                return Handle(
                    name=launch.name, pid=shim, trainer_pid=trainer, started=process_started(shim)
                )
            code = child.poll()
            if code is not None and code != ALREADY_STARTED:
                raise RuntimeFault("runtime:start_failed", f"The shim ended with {code}.")
            time.sleep(0.002)
        raise RuntimeFault(
            "runtime:start_failed", f"The shim did not report within {START_TIMEOUT_S:.0f} s."
        )

    def _argv(self, launch: Launch) -> list[str]:
        folders = self._folders(launch)
        argv = [real_paths(item, folders) for item in launch.argv]
        if launch.processes == 1:
            return argv
        # `python -m swift.cli.<command>` does not start torchrun by itself, only the launcher does
        # (swift/cli/main.py), and that one forwards no signal.
        torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", str(launch.processes)]
        return [*torchrun, "--master_port", str(free_port()), *argv]

    def _folders(self, launch: Launch) -> dict[str, Path]:
        return {
            paths.OUTPUT: launch.folder.output,
            paths.EVENTS: launch.folder.path / paths.EVENTS_FILE,
            paths.CONTROL: launch.folder.control,
            paths.SECRETS: launch.folder.run / SECRETS_FILE,
            paths.INPUTS: launch.folder.inputs,
            paths.PLUGIN: self._plugin_folder,
            **launch.mounts,
        }

    def _environment(self, launch: Launch) -> dict[str, str]:
        folders = self._folders(launch)
        home = self._cache / "home"
        home.mkdir(parents=True, exist_ok=True)
        gpus = [device for device in launch.devices if not device.startswith("cpu-")]
        own = {
            "HOME": str(home),
            "MODELSCOPE_CACHE": str(self._cache / "modelscope"),
            "HF_HOME": str(self._cache / "huggingface"),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "TMPDIR": str(scratch_open(launch.folder.tmp)),
            "PYTHONUNBUFFERED": "1",
        }
        if launch.processes > 1:
            own["NPROC_PER_NODE"] = str(launch.processes)
        asked = {key: real_paths(value, folders) for key, value in launch.env.items()}
        fixed = {"CUDA_VISIBLE_DEVICES": ",".join(gpus), MARKER: str(launch.folder.path)}
        return {**self._base_env, **own, **asked, **fixed}

    # -- finding and looking

    def _pids(self, folder: JobFolder) -> tuple[int, int] | None:
        try:
            shim, trainer = read_small(folder.path, "run/pids").split()
            return int(shim), int(trainer)
        except (FileNotFoundError, UnsafePath, ValueError):
            return None

    def find(self, name: str, folder: JobFolder) -> Handle | None:
        pids = self._pids(folder)
        if pids is None:
            return None
        shim, trainer = pids
        started = process_started(shim)
        if not started or not self._is_shim(shim, folder):
            started = 0  # ended; `state` reads the exit code
        return Handle(name=name, pid=shim, trainer_pid=trainer, started=started)

    def running(self, known: Iterable[tuple[str, JobFolder]]) -> list[str]:
        found = []
        for name, folder in known:
            handle = self.find(name, folder)
            if handle is not None and self.state(handle, folder).running:
                found.append(name)
        return found

    def _is_shim(self, pid: int, folder: JobFolder) -> bool:
        try:
            return str(folder.run) in psutil.Process(pid).cmdline()
        except psutil.Error:
            return False

    def _shim_lives(self, handle: Handle) -> bool:
        with self._lock:
            child = self._children.get(handle.pid)
            if child is not None and child.poll() is not None:
                del self._children[handle.pid]
        return bool(handle.started) and process_started(handle.pid) == handle.started

    def state(self, handle: Handle, folder: JobFolder) -> State:
        if self._shim_lives(handle):
            return State(running=True)
        try:
            code = int(read_small(folder.path, "run/exit_code"))
        except (FileNotFoundError, UnsafePath, ValueError):
            # the shim itself was killed; its trainer may still be at work
            if self._left_over(folder):
                return State(running=True)
            return State(running=False, reason="process:exit_unknown")
        with self._lock:
            self._scanned.pop(str(folder.path), None)
        killed_by = code - KILLED if KILLED < code < KILLED + signal.NSIG else None
        return State(running=False, exit_code=code, killed_by=killed_by)

    def _left_over(self, folder: JobFolder) -> bool:
        key, now = str(folder.path), time.monotonic()
        with self._lock:
            at, found = self._scanned.get(key, (0.0, True))
        if now - at >= SCAN_EVERY_S:
            found = any(True for _pid in self._members(folder))
            with self._lock:
                self._scanned[key] = (now, found)
        return found

    def _members(self, folder: JobFolder) -> Iterator[int]:
        """Every process of the job, by the marker in its environment: some leave the session."""
        return self._marked(f"{MARKER}={folder.path}".encode())

    def _marked(self, marker: bytes) -> Iterator[int]:
        for pid in psutil.pids():
            try:
                environment = Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue  # gone, or another user's
            if marker in environment.split(b"\0") and process_started(pid):
                yield pid

    def owns(self, pid: int) -> bool | None:
        """By the markers in its environment, or in that of whoever started it: a program may clear its own."""
        if not process_started(pid):
            return None  # it ends, or is not seen from here
        marks = (f"{MARKER}={self._cache.parent}/", f"{ERRAND_MARKER}={self._cache}\0")
        try:
            process: psutil.Process | None = psutil.Process(pid)
            while process is not None and process.pid > 1:
                found = b"\0" + Path(f"/proc/{process.pid}/environ").read_bytes() + b"\0"
                if any(f"\0{mark}".encode() in found for mark in marks):
                    return True
                process = process.parent()
        except (psutil.Error, OSError):
            # another user's, which is not ours; or it has just ended
            return False if process_started(pid) else None
        return False

    # -- telling

    def signal(self, handle: Handle, folder: JobFolder, signal: Signal) -> None:
        lives = self._shim_lives(handle)
        if signal is Signal.TERM and lives:
            _kill(handle.pid, 15)  # the shim forwards it to the trainer alone
            return
        number = 9 if signal is Signal.KILL else 15
        # the shim is spared, so that it writes down how the trainer ended
        for pid in list(self._members(folder)):
            if not (lives and pid == handle.pid):
                _kill(pid, number)

    def clean(self, handle: Handle, folder: JobFolder) -> None:
        self.signal(handle, folder, Signal.KILL)
        with self._lock:
            self._processes.pop(handle.pid, None)
        scratch_close(folder.tmp)

    def forget(self, handle: Handle) -> None:
        """Nothing: what it knows lies in the job's folder and goes with it."""

    # -- errands

    @property
    def job_user(self) -> tuple[int, int] | None:
        return None

    def errand_start(self, errand: Errand) -> None:
        if not os.access(self._python, os.X_OK):
            raise RuntimeFault("runtime:python_missing", f"No Python at {self._python}.")
        folders = {paths.FETCH: errand.folder, paths.PLUGIN: self._plugin_folder}
        if errand.token is not None:
            folders[paths.FETCH_TOKEN] = errand.token
        temporary = errand.folder / "run" / "tmp"
        own = {
            "HOME": str(temporary),
            "TMPDIR": str(temporary),
            "HF_HOME": str(temporary / "huggingface"),
            "MODELSCOPE_CACHE": str(temporary / "modelscope"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONUNBUFFERED": "1",
        }
        if errand.devices:
            own["CUDA_VISIBLE_DEVICES"] = ",".join(errand.devices)
        with (errand.folder / "run" / "log.txt").open("ab") as log:
            self._errands[errand.name] = subprocess.Popen(
                [str(self._python), *(real_paths(item, folders) for item in errand.argv)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=temporary,
                env={**self._base_env, **own, **self._hub_env, ERRAND_MARKER: str(self._cache)},
                start_new_session=True,
            )

    def errands_clear(self) -> None:
        for pid in list(self._marked(f"{ERRAND_MARKER}={self._cache}".encode())):
            _kill(pid, 9)

    def errand_runs(self, name: str) -> bool:
        process = self._errands.get(name)
        return process is not None and process.poll() is None

    def errand_end(self, name: str) -> None:
        process = self._errands.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def close(self) -> None:
        """Nothing."""

    def usage(self, handle: Handle) -> Usage | None:
        if not self._shim_lives(handle):
            return None
        try:
            shim = psutil.Process(handle.pid)
            found = {process.pid: process for process in shim.children(recursive=True)}
        except psutil.Error:
            return None
        with self._lock:
            known = {pid: self._processes.get(pid, process) for pid, process in found.items()}
            self._processes = {
                pid: process for pid, process in self._processes.items() if process.is_running()
            } | known
        cpu, memory = 0.0, 0
        for process in known.values():
            with contextlib.suppress(psutil.Error):
                cpu += process.cpu_percent(interval=None)
                memory += process.memory_info().rss
        return Usage(cpu_percent=cpu, memory_bytes=memory, processes=len(known))


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


__all__ = ["ProcessRuntime", "free_port", "process_started"]
