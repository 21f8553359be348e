"""Read before anything of this folder is: only who names it on SQLite comes here, and is told what to do."""

import pytest

from tests.control.conftest import is_postgres

if not is_postgres:
    message = (
        "tests/control/postgres needs PostgreSQL, and DATABASE_URL names none.\n"
        "Remedy: python3 tools/postgres.py .venv/bin/python -m pytest tests/control/postgres"
    )
    raise pytest.UsageError(message)
