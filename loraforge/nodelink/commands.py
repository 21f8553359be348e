"""Sending a command to one node: a Celery message in the queue that only its agent consumes."""

from django.utils.translation import gettext as _
from kombu.exceptions import OperationalError

from loraforge.core.celery import app
from loraforge.core.errors import Unavailable
from loraforge.nodes.models import Node
from nodeagent.contract.channels import COMMAND_TASK, command_queue
from nodeagent.contract.commands import Command, command_dump


def command_send(*, node: Node, command: Command) -> None:
    """Put the command into the node's queue, within seconds or not at all.

    Raises Unavailable when Redis does not answer; the caller's reconcile sends it again. ``retry`` is
    off since Celery's own would wait for much longer than a caller can.
    """
    try:
        app.send_task(
            COMMAND_TASK,
            kwargs={"command": command_dump(command)},
            # What Celery's events, and so Flower, show: never the signed addresses and environment.
            kwargsrepr=_shown(command),
            queue=command_queue(node.name),
            task_id=command.id,
            retry=False,
        )
    except OperationalError as error:
        raise Unavailable(
            "nodelink:no_broker", _("The message broker does not answer. Try again in a minute.")
        ) from error


def _shown(command: Command) -> str:
    kind = type(command).__name__.lower()
    return f"{kind} #{command.instance} attempt {command.attempt}"
