"""Rows inside a running installation: ``python -m tests.benchmarks.seed jobs N`` or ``... cookie``."""

import sys
from typing import Any

import django
import msgspec

PAGE = 50
LIST = "/api/v1/jobs/?page_size=50"
BATCH = 1000


def main(what: str, *words: str) -> dict[str, Any]:
    """What was asked for, as plain data."""
    django.setup()
    # Models can be imported only now.
    from loraforge.accounts.models import User  # noqa: PLC0415

    user = User.objects.get(username="bench")
    if what == "cookie":
        return {"name": "sessionid", "value": _session(user)}
    _jobs(user, int(words[0]))
    return {"queries_api": _queries(user, LIST), "queries_page": _queries(user, "/jobs/")}


def _session(user: Any) -> str:
    from django.test import Client  # noqa: PLC0415

    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client.session.session_key or ""


def _jobs(user: Any, wanted: int) -> None:
    """Fill up to so many jobs of this user, in all states that end."""
    from loraforge.instances.models import Instance  # noqa: PLC0415
    from loraforge.instances.states import State  # noqa: PLC0415
    from loraforge.nodes.models import Node  # noqa: PLC0415
    from loraforge.training.models import Job  # noqa: PLC0415

    node = Node.objects.get()
    states = (State.SUCCEEDED, State.FAILED, State.STOPPED, State.DRAFT)
    missing = range(wanted - Instance.objects.filter(owner=user).count())
    for first in missing[::BATCH]:
        rows = [
            Instance(
                owner=user, name=f"qwen-lora-{number}", state=states[number % 4], attempt=1,
                node=node, step=90, max_steps=100, loss=1.25, tags=["bench", f"t{number % 7}"],
            )
            for number in missing[first : first + BATCH]
        ]  # fmt: skip
        made = Instance.objects.bulk_create(rows)
        Job.objects.bulk_create(
            [
                Job(
                    instance=row, command="sft", model="Qwen/Qwen2.5-7B-Instruct",
                    arguments={"tuner_type": "lora"}, argv=["-m", "swift.cli.sft"] * 20,
                )
                for row in made
            ]
        )  # fmt: skip


def _queries(user: Any, path: str) -> int:
    from django.db import connection  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        answer = client.get(path)
    assert answer.status_code == 200, (path, answer.status_code)
    return len(queries)


if __name__ == "__main__":
    print(msgspec.json.encode(main(*sys.argv[1:])).decode())
