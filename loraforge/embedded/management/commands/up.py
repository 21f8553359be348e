import os
import shlex
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from loraforge.core.errors import LoraForgeError
from loraforge.embedded import stack as stacks
from loraforge.instances.models import Instance
from loraforge.instances.states import ACTIVE
from loraforge.settings.env import BASE_DIR


class Command(BaseCommand):
    help = "Start all services on this machine; running trainings are taken up again. Ctrl-C stops the services only."

    def add_arguments(self, parser: CommandParser) -> None:
        """`--background` returns once everything answers; `--farewell` is what `up` says at its end."""
        parser.add_argument(
            "--background", action="store_true", help="return once everything answers"
        )
        parser.add_argument(
            "--farewell", action="store_true", help="say which trainings go on, and end"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Prepare, then become supervisord."""
        stack = stacks.stack_here()
        if options["farewell"]:
            self._farewell()
            return
        try:
            if options["background"]:
                stacks.stack_start_background(stack)
                stacks.stack_wait_ready(stack)
                self.stdout.write(f"LoRAForge is at {stack.url}. Stop it with `make down`.")
                return
            self._become_supervisor(stack)
        except LoraForgeError as error:
            raise CommandError(error.message) from error

    def _become_supervisor(self, stack: stacks.Stack) -> None:
        stacks.lock_take(
            stack
        )  # inherited by everything that follows, and so held until the last one ends
        environment = stacks.stack_prepare(stack)
        if environment["LORAFORGE_RUNTIME"] == "auto" and not stacks.docker_answers():
            self.stderr.write(
                "No Docker engine answers here, so this machine's own node will not join. Start Docker, or, to run "
                "jobs as plain processes without any isolation, set LORAFORGE_RUNTIME=process."
            )
        self.stdout.write(
            f"LoRAForge starts at {stack.url}; logs in {stack.data / 'logs'}. Ctrl-C stops the services."
        )
        self.stdout.flush()
        farewell = [sys.executable, str(BASE_DIR / "manage.py"), "up", "--farewell"]
        # The shell outlives supervisord by one sentence. `trap :` (not '') so that the child is not deaf to Ctrl-C.
        script = f"trap : INT TERM; {shlex.join(stacks.supervisor_command())}; exec {shlex.join(farewell)}"
        os.chdir(BASE_DIR)
        os.execve("/bin/sh", ["sh", "-c", script], environment)

    def _farewell(self) -> None:
        running = Instance.objects.filter(state__in=[str(state) for state in ACTIVE]).count()
        self.stdout.write("All services have stopped.")
        if running:
            self.stdout.write(
                f"{running} training(s) go on; `make up` takes them up again, `make down ARGS=--jobs` ends them."
            )
