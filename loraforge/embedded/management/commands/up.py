import os
import shlex
import subprocess
import sys
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from loraforge.core.errors import LoraForgeError
from loraforge.embedded import stack as stacks
from loraforge.settings.env import BASE_DIR


class Command(BaseCommand):
    help = "Start all services on this machine; running trainings are taken up again. Ctrl-C stops the services only."

    def add_arguments(self, parser: CommandParser) -> None:
        """`--background` returns once everything answers; the others are what `up` says beside the services."""
        parser.add_argument(
            "--background", action="store_true", help="return once everything answers"
        )
        parser.add_argument(
            "--greet",
            type=datetime.fromisoformat,
            metavar="SINCE",
            help="say when all that started then answers, and end",
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
        if options["greet"]:
            self._greet(stack, since=options["greet"])
            return
        since = timezone.now()
        try:
            if options["background"]:
                stacks.stack_start_background(stack)
                stacks.stack_wait_ready(stack, since=since)
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
        manage = [sys.executable, str(BASE_DIR / "manage.py"), "up"]
        # without the lock, which it would keep from `make down`; ends with Ctrl-C as everything here does
        greet = [*manage, "--greet", timezone.now().isoformat()]
        subprocess.Popen(greet, cwd=BASE_DIR, env=environment)
        farewell = [*manage, "--farewell"]
        # The shell outlives supervisord by one sentence. `trap :` (not '') so that the child is not deaf to Ctrl-C.
        script = f"trap : INT TERM; {shlex.join(stacks.supervisor_command())}; exec {shlex.join(farewell)}"
        os.chdir(BASE_DIR)
        os.execve("/bin/sh", ["sh", "-c", script], environment)

    def _greet(self, stack: stacks.Stack, *, since: datetime) -> None:
        try:
            stacks.stack_wait_ready(stack, since=since)
            self.stdout.write(f"Ready: {stack.url}, and node {stacks.NODE_NAME} has joined.")
        except LoraForgeError as error:
            if stacks.is_live(stack):
                self.stderr.write(error.message)
        except KeyboardInterrupt:
            sys.exit(130)

    def _farewell(self) -> None:
        self.stdout.write("All services have stopped.")
        self.stdout.write(stacks.goes_on_text(), ending="")
