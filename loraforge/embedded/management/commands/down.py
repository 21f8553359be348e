import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from loraforge.core.errors import Conflict, LoraForgeError
from loraforge.core.installed import is_database_made
from loraforge.embedded import stack as stacks
from loraforge.instances.models import Instance
from loraforge.instances.services import instance_stop
from loraforge.instances.states import ACTIVE, State

JOBS_TIMEOUT_S = 90


class Command(BaseCommand):
    help = "Stop the services of this machine. Trainings go on unless --jobs is given."

    def add_arguments(self, parser: CommandParser) -> None:
        """`--jobs` ends the trainings first, saving nothing."""
        parser.add_argument(
            "--jobs", action="store_true", help="end running and waiting trainings first"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Stop, and say what goes on."""
        stack = stacks.stack_here()
        try:
            if options["jobs"] and is_database_made():
                self._jobs_end(stack)
            stopped = stacks.stack_stop(stack)
        except LoraForgeError as error:
            raise CommandError(error.message) from error
        self.stdout.write("All services have stopped." if stopped else "Nothing was running.")
        if is_database_made():
            self.stdout.write(stacks.goes_on_text(), ending="")

    def _jobs_end(self, stack: stacks.Stack) -> None:
        waiting = Instance.objects.filter(state=State.QUEUED, deleted_at=None)
        if not stacks.is_live(stack) and (_active().exists() or waiting.exists()):
            self.stdout.write("The services start once more, to end the trainings.")
            since = timezone.now()
            stacks.stack_start_background(stack)
            stacks.stack_wait_ready(stack, since=since)
        for instance in [*waiting, *_active()]:
            try:
                instance_stop(actor=None, instance=instance, mode="now")
                self.stdout.write(f"Ending {instance}.")
            except Conflict:
                self.stdout.write(f"{instance} has just ended by itself.")
        deadline = time.monotonic() + JOBS_TIMEOUT_S
        while _active().exists():
            if time.monotonic() > deadline:
                left = ", ".join(str(instance) for instance in _active())
                raise CommandError(
                    f"Not ended within {JOBS_TIMEOUT_S} s: {left}. Their node may not be reachable (nodes page). "
                    "The services still run, so that it can be looked at; `make down` stops them."
                )
            time.sleep(0.2)


def _active() -> Any:
    return Instance.objects.filter(state__in=[str(state) for state in ACTIVE], deleted_at=None)
