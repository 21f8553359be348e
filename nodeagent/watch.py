"""What an agent does with or without the control plane: it adopts trainings, follows, fences and ends them."""

import logging
import queue
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from nodeagent.config import Settings
from nodeagent.journal import Journal
from nodeagent.linecap import LogCaps
from nodeagent.reporter import Reporter, StreamKey
from nodeagent.runtimes.base import Runtime
from nodeagent.supervisor import POOL_THREADS, Supervisor
from nodeagent.supervisor.caches import Caches
from nodeagent.supervisor.closing import Manifests
from nodeagent.supervisor.fencing import Contact
from nodeagent.supervisor.fulldisk import FullDisk
from nodeagent.supervisor.gpuwatch import GpuWatch
from nodeagent.supervisor.hub import HubCache
from nodeagent.supervisor.outbox import Outbox
from nodeagent.supervisor.parts import Parts
from nodeagent.supervisor.staging import Staging
from nodeagent.transfer.inputs import Fetcher
from nodeagent.workspace import Workspace

log = logging.getLogger(__name__)


class Stores(NamedTuple):
    """What a job's inputs, models and datasets come from."""

    fetcher: Fetcher
    hub: HubCache
    caches: Caches


def stores_make(settings: Settings, workspace: Workspace, runtime: Runtime) -> Stores:
    """All below the one folder of caches."""
    caches = Caches(folder=settings.cache, cap_bytes=settings.cache_max_bytes)
    fetcher = Fetcher(
        server=settings.server,
        token=settings.token,
        cache=settings.cache,
        workspace=workspace,
        make_room=caches.make_room,
    )
    hub = HubCache(
        folder=settings.cache,
        runtime=runtime,
        token_get=fetcher.secret_get,
        make_room=caches.make_room,
    )
    return Stores(fetcher, hub, caches)


class Watch:
    """Begins before the node has joined, as far as it knows its cluster: trainings may be running there.

    reporter: not started yet, what it is offered waits.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        journal: Journal,
        boot_id: str,
        contact: Contact,
        reporter: Reporter,
        rewinds: queue.SimpleQueue[tuple[StreamKey, int]],
        runtime: Runtime,
        devices: set[str],
        cpu_slots: int,
        gpus: GpuWatch,
    ) -> None:
        self.gpus = gpus
        self.reporter = reporter
        self.workspace = Workspace(settings.folder)
        self._stores = stores_make(settings, self.workspace, runtime)
        self.caps = LogCaps(
            per_job=settings.log_lines_per_job, per_node=settings.log_lines_per_node
        )
        pool = ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="job")
        self.supervisor = Supervisor(
            parts=Parts(
                node=settings.name,
                boot_id=boot_id,
                runtime=runtime,
                fetcher=self._stores.fetcher,
                hub=self._stores.hub,
                reporter=reporter,
                contact=contact,
                full_disk=FullDisk(settings.folder),
                outbox=Outbox(node=settings.name, journal=journal, reporter=reporter),
                manifests=Manifests(),
                pool=pool,
                gpus=gpus,
                model_roots=settings.model_roots,
                cpu_slots=cpu_slots,
                log_caps=self.caps,
                job_disk_bytes=settings.job_disk_bytes,
                limits=settings.limits,
            ),
            journal=journal,
            workspace=self.workspace,
            pool=pool,
            rewinds=rewinds,
            devices=devices,
        )
        self.staging = Staging(
            fetcher=self._stores.fetcher,
            hub=self._stores.hub,
            runtime=runtime,
            model_roots=settings.model_roots,
        )
        self.caches = self._stores.caches
        self.caches.live = self.supervisor.live_records
        gpus.held = self._held_devices
        self._has_stopped = False

    def _held_devices(self) -> set[str]:
        """Of attempts that have not ended."""
        specs = [record.spec for record in self.supervisor.live_records()]
        return {device for spec in specs if spec is not None for device in spec.devices}

    def start(self) -> None:
        """Alone: nothing new begins until `joined`."""
        self.supervisor.start()

    def joined(self) -> None:
        """Everything goes on. The reporter was started."""
        self.supervisor.joined()
        self.caches.start()
        self.gpus.start()

    def stop(self) -> None:
        """Trainings go on. A second time changes nothing."""
        if self._has_stopped:
            return
        self._has_stopped = True
        self.gpus.stop()
        self.staging.stop()
        self.supervisor.stop()
        self.reporter.stop()
        self.caches.stop()
        self._stores.fetcher.close()
        log.info("ended; trainings go on")
