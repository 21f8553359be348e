"""Jobs as hardened containers of a Docker engine. With engine.py the one door to Docker.

What a container is, container.py says; whether an engine is fit, preflight.py. A container outlives the
agent and, with live-restore, the engine; an agent started later finds it by name and labels.
"""

import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import docker.types
import psutil
from docker.utils import parse_repository_tag

from nodeagent.journal import Handle
from nodeagent.runtimes.base import (
    Errand,
    Launch,
    RuntimeAway,
    RuntimeFault,
    Say,
    Signal,
    State,
    Usage,
)
from nodeagent.runtimes.container import (
    LABEL_CLUSTER,
    LABEL_DEVICES,
    LABEL_ERRAND,
    LABEL_NODE,
    LABEL_SPEC,
    Identity,
    Policy,
    container_config,
    errand_config,
    errand_label,
    gpus_of,
)
from nodeagent.runtimes.ending import state_judge
from nodeagent.runtimes.engine import Engine, Events, asking
from nodeagent.runtimes.ownership import folder_give, unreadable_find
from nodeagent.runtimes.pulling import PullBroken, image_missing, image_pull
from nodeagent.runtimes.stats import cpu_used_s, usage_judge
from nodeagent.runtimes.watch import Watch
from nodeagent.workspace import JobFolder

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0  # an event tells of an end at once; this is for events that were lost
LOOK_BLIND_S = 0.25  # while no events come
NAME_PATIENCE_S = 5.0
NOT_FOUND, CONFLICT = 404, 409
CONTAINER_ID = re.compile(r"[0-9a-f]{64}")


class DockerRuntime:
    """Implements `nodeagent.runtimes.base.Runtime`.

    plugin: folder with the trainer's plugin, on this machine as the engine sees it.
    """

    name = "docker"

    def __init__(
        self, *, engine: Engine, identity: Identity, policy: Policy, plugin: Path, url: str
    ) -> None:
        self._engine = engine
        self._api = engine.api
        self._identity = identity
        self._policy = policy
        self._plugin = plugin
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, State]] = {}
        self._told: set[str] = set()
        self._cpu: dict[str, tuple[float, float]] = {}
        self._ours: dict[str, bool] = {}  # container -> whether it is of this node
        self._watch = Watch(lambda: Events(url), identity)
        self._watch.start()

    # -- the image

    def prepare(self, image: str, *, say: Say, cancelled: Callable[[], bool]) -> None:
        image = self._allowed(image)
        with asking():
            if self._has_image(image):
                return
            repository, tag = parse_repository_tag(image)
            image_pull(
                image,
                lines=lambda: self._pull_lines(repository, tag or "latest"),
                say=say,
                cancelled=cancelled,
            )

    def _allowed(self, image: str) -> str:
        wanted = image or self._policy.images[0]
        if wanted not in self._policy.images:
            raise RuntimeFault(
                "image:not_allowed", f"The image {wanted} is not among those that this node runs."
            )
        return wanted

    def _has_image(self, image: str) -> bool:
        try:
            self._api.inspect_image(image)  # type: ignore[no-untyped-call]
        except docker.errors.NotFound:
            return False
        return True

    def _pull_lines(self, repository: str, tag: str) -> Iterator[dict[str, Any]]:
        try:
            yield from self._api.pull(repository, tag, stream=True, decode=True)
        except docker.errors.APIError as error:
            raise PullBroken(str(error.explanation)) from error

    # -- starting

    def start(self, launch: Launch) -> Handle:
        image = self._allowed(launch.image)
        self._check(launch)
        folder_give(launch.folder.path, uid=self._policy.uid, gid=self._policy.gid)
        config = container_config(
            launch, policy=self._policy, identity=self._identity, plugin=self._plugin, image=image
        )
        with asking():
            self._gpus_free(launch)
            container = self._create(launch, config)
            try:
                self._api.start(container)
            except docker.errors.APIError as error:
                self._remove(container)
                raise RuntimeFault("container:start_failed", str(error.explanation)) from error
            return self._handle(launch.name, self._api.inspect_container(container))

    def _check(self, launch: Launch) -> None:
        """What the engine would take, but the job could not work with."""
        for target, path in launch.mounts.items():
            if not target.startswith("/lf/"):
                raise RuntimeFault("mount:bad_target", f"Nothing is mounted at {target}.")
            closed = unreadable_find(path, uid=self._policy.uid, gid=self._policy.gid)
            if closed is not None:
                raise RuntimeFault(
                    "model:unreadable",
                    f"Jobs run as user {self._policy.uid}, who may not read {closed} "
                    f"(chmod -R a+rX {path}).",
                )

    def _gpus_free(self, launch: Launch) -> None:
        """No other container of ours may hold these GPUs, also not one that no journal knows."""
        wanted = set(gpus_of(launch.devices))
        if not wanted:
            return
        for other in self._api.containers(filters={"label": LABEL_DEVICES}):
            shared = wanted & set(other["Labels"][LABEL_DEVICES].split(","))
            if shared and f"/{launch.name}" not in other["Names"]:
                held_by = other["Names"][0].lstrip("/")
                raise RuntimeFault("device:busy", f"{min(shared)} is used by {held_by}.")

    def _create(self, launch: Launch, config: dict[str, Any]) -> str:
        """The id of a new container, or of the one that was made under this name and for this spec."""
        deadline = time.monotonic() + NAME_PATIENCE_S
        while True:
            try:
                made = self._api.create_container_from_config(config, launch.name)  # type: ignore[no-untyped-call]
                return str(made["Id"])
            except docker.errors.ImageNotFound as error:
                raise image_missing(config["Image"], str(error.explanation)) from error
            except docker.errors.APIError as error:
                if error.status_code != CONFLICT:
                    raise RuntimeFault("container:create_failed", str(error.explanation)) from error
            found = self._inspect(launch.name)
            if found is not None:
                return self._adopt(launch, found)
            # the name is taken before there is anything to see of it, and still while it is removed
            if time.monotonic() >= deadline:
                raise RuntimeAway(f"The engine is busy with another {launch.name}.")
            time.sleep(0.05)

    def _adopt(self, launch: Launch, found: dict[str, Any]) -> str:
        if (
            not self._is_ours(found)
            or found["Config"]["Labels"].get(LABEL_SPEC) != launch.spec_hash
        ):
            raise RuntimeFault(
                "container:name_taken", f"Another container is called {launch.name} on this engine."
            )
        return str(found["Id"])

    def _handle(self, name: str, found: dict[str, Any]) -> Handle:
        pid = int(found["State"]["Pid"])
        return Handle(
            name=name,
            pid=pid,
            trainer_pid=pid,  # of init, which forwards signals; the trainer is its child
            container=str(found["Id"]),
            spec=str(found["Config"]["Labels"].get(LABEL_SPEC, "")),
        )

    # -- finding and looking

    def _inspect(self, container: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._api.inspect_container(container)
        except docker.errors.NotFound:
            return None
        return found

    def _is_ours(self, found: dict[str, Any]) -> bool:
        labels = found["Config"].get("Labels") or {}
        return (labels.get(LABEL_CLUSTER), labels.get(LABEL_NODE)) == (
            self._identity.cluster,
            self._identity.node,
        )

    def find(self, name: str, folder: JobFolder) -> Handle | None:
        with asking():
            found = self._inspect(name)
        # one that was created and never started is for `start` to go on with
        if found is None or not self._is_ours(found) or found["State"]["Status"] == "created":
            return None
        return self._handle(name, found)

    def running(self, known: Iterable[tuple[str, JobFolder]]) -> list[str]:
        labels = [f"{key}={value}" for key, value in self._identity.labels.items()]
        with asking():
            return [
                one["Names"][0].lstrip("/")
                for one in self._api.containers(filters={"label": labels})
            ]

    def state(self, handle: Handle, folder: JobFolder) -> State:
        container, now = handle.container, time.monotonic()
        happened = self._watch.happened(container)
        with self._lock:
            at, known = self._seen.get(container, (0.0, State(running=True)))
        patience_s = LOOK_EVERY_S if self._watch.is_watching else LOOK_BLIND_S
        if at and now - at < patience_s and not happened:
            return known
        try:
            with asking():
                found = self._inspect(container)
        except (RuntimeAway, docker.errors.APIError) as error:
            # not knowing is no end: the container may well run on (live-restore)
            log.warning("%s: %s", handle.name, error)
        else:
            known = self._state_of(container, found)
        with self._lock:
            self._seen[container] = (now, known)
        return known

    def _state_of(self, container: str, found: dict[str, Any] | None) -> State:
        with self._lock:
            was_told = container in self._told
        was_cut_off = not was_told and self._watch.was_cut_off(container)
        return state_judge(found, boot=psutil.boot_time(), was_cut_off=was_cut_off)

    # -- errands

    @property
    def job_user(self) -> tuple[int, int] | None:
        return self._policy.uid, self._policy.gid

    def owns(self, pid: int) -> bool | None:
        """By the container in its control group."""
        try:
            group = Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii", errors="replace")
        except OSError:
            return None  # gone, or the agent is in a container and sees its own processes only
        found = CONTAINER_ID.search(group)
        if found is None:
            return False
        known = self._ours.get(found[0])
        if known is None:
            try:
                known = self._is_of_this_node(found[0])
            except RuntimeAway:
                return None
            self._ours[found[0]] = known
        return known

    def _is_of_this_node(self, container: str) -> bool:
        with asking():
            found = self._inspect(container)
        if found is None:
            return False
        labels = found["Config"].get("Labels") or {}
        errand = errand_label(self._identity)
        return self._is_ours(found) or labels.get(LABEL_ERRAND) == errand

    def errand_start(self, errand: Errand) -> None:
        image = self._allowed(errand.image)
        config = errand_config(
            errand, policy=self._policy, identity=self._identity, plugin=self._plugin, image=image
        )
        with asking():
            self._remove(errand.name)
            try:
                made = self._api.create_container_from_config(config, errand.name)  # type: ignore[no-untyped-call]
                self._api.start(made["Id"])
            except docker.errors.ImageNotFound as error:
                raise image_missing(image, str(error.explanation)) from error
            except docker.errors.APIError as error:
                self._remove(errand.name)
                raise RuntimeFault("node:fetch_failed", str(error.explanation)) from error

    def errands_clear(self) -> None:
        label = f"{LABEL_ERRAND}={errand_label(self._identity)}"
        with asking():
            for one in self._api.containers(all=True, filters={"label": label}):
                self._remove(one["Id"])

    def errand_runs(self, name: str) -> bool:
        with asking():
            found = self._inspect(name)
        return found is not None and found["State"]["Status"] in {"created", "running"}

    def errand_end(self, name: str) -> None:
        with asking():
            self._remove(name)

    # -- telling

    def signal(self, handle: Handle, folder: JobFolder, signal: Signal) -> None:
        """TERM_ALL is TERM: init has one child, and torchrun passes it on to its processes."""
        name = "SIGKILL" if signal is Signal.KILL else "SIGTERM"
        with self._lock:
            self._told.add(handle.container)
        with asking():
            self._kill(handle.container, name)

    def _kill(self, container: str, name: str) -> None:
        try:
            self._api.kill(container, name)
        except docker.errors.APIError as error:
            # it has ended meanwhile, or is gone
            if error.status_code not in {NOT_FOUND, CONFLICT}:
                raise

    def clean(self, handle: Handle, folder: JobFolder) -> None:
        """The kernel ends every process of a container with its init; what is left is temporary files."""
        with asking():
            self._kill(handle.container, "SIGKILL")
        for path in (folder.path / "tmp").iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)  # relative to descriptors, so a planted link is not followed
            else:
                path.unlink()

    def forget(self, handle: Handle) -> None:
        with asking():
            self._remove(handle.container)
        with self._lock:
            self._seen.pop(handle.container, None)
            self._cpu.pop(handle.container, None)
            self._told.discard(handle.container)
        self._watch.forget(handle.container)

    def _remove(self, container: str) -> None:
        try:
            self._api.remove_container(container, v=True, force=True)
        except docker.errors.APIError as error:
            # gone already, or its removal goes on
            if error.status_code not in {NOT_FOUND, CONFLICT}:
                raise RuntimeAway(f"A container cannot be removed: {error.explanation}") from error

    def close(self) -> None:
        self._watch.stop()
        self._api.close()

    def usage(self, handle: Handle) -> Usage | None:
        try:
            with asking():
                stats = self._api.stats(handle.container, decode=None, stream=False, one_shot=True)
        except (RuntimeAway, docker.errors.APIError):
            return None
        now, used_s = time.monotonic(), cpu_used_s(stats)
        with self._lock:
            before_at, before_s = self._cpu.get(handle.container, (now, used_s))
            self._cpu[handle.container] = (now, used_s)
        return usage_judge(stats, cpu_s=used_s - before_s, passed_s=now - before_at)
