"""Tables, people and nodes of a fresh installation in one process, where six commands would load Django six times.

python -m tests.e2e.faults.prepare NODE...      prints a token for each node, one a line
"""

import sys
from io import StringIO

import django
from django.core.management import call_command

PEOPLE = (("alice", "researcher"), ("carol", "operator"))


def main(nodes: list[str]) -> None:
    """LORAFORGE_PASSWORD is everybody's password."""
    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    for name, role in PEOPLE:
        call_command("user_add", name, role=role, stdout=StringIO())
    for name in nodes:
        said = StringIO()
        call_command("node_add", name, token_only=True, stdout=said)
        print(said.getvalue().strip())


if __name__ == "__main__":
    main(sys.argv[1:])
