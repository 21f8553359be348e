"""Which database commands of a machine's command line work on, and whether it is there."""

from django.conf import settings
from django.db import connection

from loraforge.core.errors import Unavailable
from loraforge.core.models import Setting


def database_name() -> str:
    """For people: SQLite's file, or PostgreSQL's database and host."""
    known = connection.settings_dict
    if connection.vendor == "sqlite":
        return str(known["NAME"])
    return f"{known['NAME']} on {known['HOST'] or 'this machine'}"


def is_database_made() -> bool:
    """False before the first start: no table is there."""
    return Setting._meta.db_table in connection.introspection.table_names()


def database_require() -> None:
    """Raise Unavailable (`core:no_database`) with the remedy where the tables are not made yet."""
    if not is_database_made():
        raise Unavailable(
            "core:no_database",
            f"There are no tables in {database_name()} yet. Start LoRAForge once (make up), or, when it runs "
            f"already, set LORAFORGE_DATA (here {settings.DATA}) or DATABASE_URL as it has them.",
        )
