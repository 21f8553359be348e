"""On SQLite too no row of the ledger is deleted, as on PostgreSQL since 0002."""

from django.db import migrations

_GUARD = """
    CREATE TRIGGER billing_never_deleted BEFORE DELETE ON billing_ledgerline
    BEGIN
        SELECT RAISE(ABORT, 'the ledger is never rewritten: a correction is a new line');
    END
"""


def forwards(_apps, editor):
    if editor.connection.vendor == "sqlite":
        editor.execute(_GUARD)


def backwards(_apps, editor):
    if editor.connection.vendor == "sqlite":
        editor.execute("DROP TRIGGER billing_never_deleted")


class Migration(migrations.Migration):
    dependencies = [("billing", "0002_triggers")]
    operations = [migrations.RunPython(forwards, backwards)]
