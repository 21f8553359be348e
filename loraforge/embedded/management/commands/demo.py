import signal
import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from loraforge.core.errors import LoraForgeError
from loraforge.embedded import demo
from loraforge.embedded import stack as stacks
from loraforge.embedded.client import ApiClient, ApiError


class Command(BaseCommand):
    help = "Set up and start everything, run a real fine-tune of a tiny model, then serve the pages until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        """`--exit` ends after the adapter is downloaded and checked."""
        parser.add_argument(
            "--exit", action="store_true", help="end once the adapter is downloaded and checked"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run; whatever this command started ends with it, whatever ran before stays."""
        stack = stacks.stack_here()
        ours = False
        # `kill` ends the demo as Ctrl-C does.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            ours = self._start(stack)
            self._run(stack)
            if ours and not options["exit"]:
                self._serve(stack)
        except (LoraForgeError, ApiError) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.stdout.write("")
        finally:
            if ours:
                stacks.stack_stop(stack)
                self.stdout.write("All services have stopped; `make up` starts them again.")

    def _start(self, stack: stacks.Stack) -> bool:
        self._say("Making the tiny model and the sample data")
        demo.runtime_choose(stack)
        demo.material_ensure(stack)
        if stacks.is_live(stack):
            self._say(f"Using the services that run at {stack.url}")
            return False
        self._say("Starting the services (a few seconds; on a busy machine a minute or more)")
        since = timezone.now()
        stacks.stack_start_background(stack)
        try:
            stacks.stack_wait_ready(stack, since=since)
        except LoraForgeError:
            stacks.stack_stop(stack)
            raise
        return True

    def _run(self, stack: stacks.Stack) -> None:
        passwords = demo.accounts_ensure(stack)
        with ApiClient(
            base_url=stack.url, username="researcher", password=passwords["researcher"]
        ) as api:
            self._say("Uploading the sample data")
            dataset = demo.dataset_ensure(api, stack.data / "demo" / "data.jsonl")
            job = api.post(
                "jobs/", demo.job_body(model=stack.data / "demo" / "model", dataset=dataset)
            )
            self._say(f"Job #{job['id']} fine-tunes the tiny model with LoRA, for real")
            job = demo.job_follow(api, job["id"], show=self._progress)
            self.stdout.write("")
            if job["state"] != "succeeded":
                raise CommandError(
                    f"Job #{job['id']} ended as {job['state']}: {job['failure_detail']}"
                )
            adapter = demo.adapter_download(
                api, job["id"], folder=stack.data / "demo" / "downloads"
            )
        self._say(
            f"LoRA weights downloaded and checked: {adapter.path} ({adapter.tensors} tensors)"
        )
        self.stdout.write(f"\n  {stack.url}/\n")
        self.stdout.write(f"  {'user':<12}{'role':<12}password")
        for name, password in passwords.items():
            self.stdout.write(f"  {name:<12}{demo.ACCOUNTS[name]:<12}{password}")
        self.stdout.write("")

    def _serve(self, stack: stacks.Stack) -> None:
        self._say(f"Serving {stack.url} until Ctrl-C")
        while stacks.is_live(stack):
            time.sleep(1)

    def _say(self, text: str) -> None:
        self.stdout.write(f"- {text}")
        self.stdout.flush()

    def _progress(self, text: str) -> None:
        end = "" if self.stdout.isatty() else "\n"
        start = "\r\x1b[K" if self.stdout.isatty() else ""
        if text != getattr(self, "_last", ""):
            self.stdout.write(f"{start}  {text}", ending=end)
            self.stdout.flush()
        self._last = text
