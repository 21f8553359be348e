"""``manage.py node_add NAME``: a new node, and the command that joins it."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from loraforge.core.errors import LoraForgeError
from loraforge.core.installed import database_require
from loraforge.nodes.models import Node
from loraforge.nodes.services import node_add, node_token_renew


class Command(BaseCommand):
    help = "Add a node and print the command that joins it; its token is shown this once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="small letters, digits and hyphens; never changes")
        parser.add_argument(
            "--url",
            default=f"http://127.0.0.1:{settings.PORT}",
            help="where the node reaches the web process",
        )
        parser.add_argument(
            "--renew", action="store_true", help="give a node that exists a new token"
        )
        parser.add_argument("--token-only", action="store_true", help="print nothing but the token")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            token = self._token(name=options["name"], renew=options["renew"])
        except LoraForgeError as error:
            raise CommandError(error.message) from error
        if options["token_only"]:
            self.stdout.write(token)
            return
        self.stdout.write(
            "Run this on the node. The token is shown this once:\n\n"
            f"  LORAFORGE_SERVER={options['url']} LORAFORGE_NODE_NAME={options['name']} "
            f"LORAFORGE_NODE_TOKEN={token} python -m nodeagent\n\n"
            "It runs jobs in Docker containers and keeps its data in ./var/node; `python -m nodeagent --help` tells of "
            "--runtime, --data, --model-root, and --listen and --advertise for a node on another machine.\n"
        )

    def _token(self, *, name: str, renew: bool) -> str:
        database_require()
        node = Node.objects.filter(name=name).first() if renew else None
        if node is not None:
            return node_token_renew(actor=None, node=node)
        _node, token = node_add(actor=None, name=name)
        return token
