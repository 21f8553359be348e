"""What no constraint of Django's says on both databases: the ledger is never rewritten, prices never overlap."""

from django.db import migrations

_POSTGRES = (
    """
    CREATE FUNCTION billing_never_rewritten() RETURNS trigger AS $$
    BEGIN
        RAISE EXCEPTION 'the ledger is never rewritten: a correction is a new line'
            USING ERRCODE = 'restrict_violation';
    END $$ LANGUAGE plpgsql
    """,
    """
    CREATE TRIGGER billing_never_rewritten BEFORE UPDATE OR DELETE ON billing_ledgerline
    FOR EACH ROW EXECUTE FUNCTION billing_never_rewritten()
    """,
    # One writer at a time: what another has committed is seen once the lock is held.
    """
    CREATE FUNCTION billing_no_overlap() RETURNS trigger AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('billing_price'));
        IF EXISTS (
            SELECT 1 FROM billing_price other
            WHERE other.id <> NEW.id AND other.currency = NEW.currency
                AND other.node_id IS NOT DISTINCT FROM NEW.node_id
                AND lower(other.gpu_model) = lower(NEW.gpu_model)
                AND other.first_day <= COALESCE(NEW.last_day, DATE '9999-12-31')
                AND COALESCE(other.last_day, DATE '9999-12-31') >= NEW.first_day
        ) THEN
            RAISE EXCEPTION 'the days of two prices overlap' USING ERRCODE = 'exclusion_violation';
        END IF;
        RETURN NEW;
    END $$ LANGUAGE plpgsql
    """,
    """
    CREATE TRIGGER billing_no_overlap BEFORE INSERT OR UPDATE ON billing_price
    FOR EACH ROW EXECUTE FUNCTION billing_no_overlap()
    """,
)
_POSTGRES_BACK = (
    "DROP TRIGGER billing_never_rewritten ON billing_ledgerline",
    "DROP FUNCTION billing_never_rewritten()",
    "DROP TRIGGER billing_no_overlap ON billing_price",
    "DROP FUNCTION billing_no_overlap()",
)

_OVERLAP = """
    SELECT RAISE(ABORT, 'the days of two prices overlap') WHERE EXISTS (
        SELECT 1 FROM billing_price other
        WHERE other.id <> NEW.id AND other.currency = NEW.currency
            AND other.node_id IS NEW.node_id AND lower(other.gpu_model) = lower(NEW.gpu_model)
            AND other.first_day <= COALESCE(NEW.last_day, '9999-12-31')
            AND COALESCE(other.last_day, '9999-12-31') >= NEW.first_day
    );
"""
_SQLITE = (
    """
    CREATE TRIGGER billing_never_rewritten BEFORE UPDATE ON billing_ledgerline
    BEGIN
        SELECT RAISE(ABORT, 'the ledger is never rewritten: a correction is a new line');
    END
    """,
    f"CREATE TRIGGER billing_no_overlap AFTER INSERT ON billing_price BEGIN {_OVERLAP} END",
    f"CREATE TRIGGER billing_no_overlap_later AFTER UPDATE ON billing_price BEGIN {_OVERLAP} END",
)
_SQLITE_BACK = (
    "DROP TRIGGER billing_never_rewritten",
    "DROP TRIGGER billing_no_overlap",
    "DROP TRIGGER billing_no_overlap_later",
)


def _run(editor, on_postgres, on_sqlite):
    for statement in on_postgres if editor.connection.vendor == "postgresql" else on_sqlite:
        editor.execute(statement)


def forwards(_apps, editor):
    _run(editor, _POSTGRES, _SQLITE)


def backwards(_apps, editor):
    _run(editor, _POSTGRES_BACK, _SQLITE_BACK)


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial")]
    operations = [migrations.RunPython(forwards, backwards)]
