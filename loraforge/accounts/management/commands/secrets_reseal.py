"""``manage.py secrets_reseal``: after a change of the secret key, so that the old one may be forgotten."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from loraforge.accounts import services
from loraforge.accounts.models import Secret
from loraforge.accounts.sealing import Unsealable
from loraforge.core.errors import LoraForgeError
from loraforge.core.installed import database_require


class Command(BaseCommand):
    """Seals people's secrets anew that a key of before sealed; running it again changes nothing."""

    help = "Seal people's secrets with today's secret key. Needs the old one as a fallback."

    def handle(self, *_args: Any, **_options: Any) -> None:
        try:
            database_require()
        except LoraForgeError as error:
            raise CommandError(error.message) from error
        done, lost = 0, []
        for secret in Secret.objects.select_related("owner").order_by("pk").iterator():
            try:
                done += services.secret_reseal(secret=secret)
            except Unsealable:
                lost.append(f"{secret.kind} of {secret.owner}")
        self.stdout.write(f"{done} sealed anew")
        if lost:
            message = (
                f"{len(lost)} open with no key that is set: {', '.join(lost)}. Add the key of then to "
                "LORAFORGE_SECRET_KEY_FALLBACKS and run this again, or have their owners store them again."
            )
            raise CommandError(message)
