"""``manage.py user_add NAME --role researcher``; the password comes from LORAFORGE_PASSWORD."""

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from loraforge.accounts import services
from loraforge.accounts.models import Role, User
from loraforge.core.errors import LoraForgeError
from loraforge.core.installed import database_name, database_require

VARIABLE = "LORAFORGE_PASSWORD"


class Command(BaseCommand):
    """Adds a user; with --update it changes one that is there, so that running it again is safe."""

    help = "Add a user. The password is read from the environment variable LORAFORGE_PASSWORD."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--role", choices=Role.values, default=Role.RESEARCHER.value)
        parser.add_argument(
            "--update", action="store_true", help="change role and password of an existing user"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        password = os.environ.get(VARIABLE, "")
        if not password:
            message = f"Set {VARIABLE} to the new user's password (12 or more characters)."
            raise CommandError(message)
        try:
            database_require()
            user = User.objects.filter(username=options["name"]).first()
            word = self._write(user, password, options)
        except LoraForgeError as error:
            texts = [f"{field}: {' '.join(found)}" for field, found in error.fields.items()]
            told = [text for text in texts if text.partition(": ")[2] not in error.message]
            raise CommandError("\n".join([error.message, *told])) from error
        # in which database: another LORAFORGE_DATA is another platform
        self.stdout.write(f"{word} {options['name']} ({options['role']}) in {database_name()}")

    def _write(self, user: User | None, password: str, options: dict[str, Any]) -> str:
        role = options["role"]
        if user is None:
            services.user_create(actor=None, username=options["name"], password=password, role=role)
            return "added"
        if not options["update"]:
            message = f"There is a user {user.username} already. Add --update to change it."
            raise CommandError(message)
        # The same password again must not throw everybody's sessions and tokens away.
        changed = None if user.check_password(password) else password
        services.user_update(actor=None, user=user, role=role, is_active=True, password=changed)
        return "updated"
