"""``manage.py core_services``: beat, relay and ingest in one process, or each alone."""

import gc
import logging
import os
import signal
import threading
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from loraforge.core import pulse
from loraforge.core.beat import Beat
from loraforge.core.relay import Relay
from loraforge.gateway.ingest import Ingest

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 10.0

WORK: dict[str, Callable[[threading.Event], Callable[[], None]]] = {
    "relay": lambda stopping: Relay(stopping).run,
    "ingest": lambda stopping: Ingest(stopping).run,
    "beat": lambda stopping: Beat(stopping).run,
}


class Command(BaseCommand):
    help = "Publish the outbox, store what the nodes report, and give the periodic hints."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--only", choices=sorted(WORK), help="one of them alone; default: all")
        parser.add_argument(
            "--alive", type=Path, help="a file touched every few seconds while all of them work"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Ends with 0 at SIGTERM or SIGINT; with an error when one of the threads ended by itself."""
        gc.collect()
        gc.freeze()  # what is loaded now stays; looking at it again would hold up every frame
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: stopping.set())
        crashed: list[str] = []
        names = [options["only"]] if options["only"] else sorted(WORK)
        threads = [self._thread(name, stopping, crashed) for name in names]
        log.info("core services: %s", ", ".join(names))
        if options["alive"]:
            pulse.tell(options["alive"], names=names, stopping=stopping)
        stopping.wait()
        for thread in threads:
            thread.join(STOP_TIMEOUT_S)
        if crashed:
            raise CommandError(f"{', '.join(crashed)} ended by itself; start the process again")
        if any(thread.is_alive() for thread in threads):
            log.warning("did not end in time: %s", [one.name for one in threads if one.is_alive()])
            os._exit(0)  # the threads hold nothing that a restart does not take up again

    def _thread(self, name: str, stopping: threading.Event, crashed: list[str]) -> threading.Thread:
        def work() -> None:
            try:
                WORK[name](stopping)()
            except Exception:
                log.exception("%s has crashed", name)
            if not stopping.is_set():
                crashed.append(name)
                stopping.set()

        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread
