"""The rules of the house that a machine can check."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from rest_framework.test import APIClient

from loraforge.accounts.permissions import SignedIn
from loraforge.billing.models import LedgerLine, Price
from loraforge.instances.states import State
from loraforge.scheduling.models import Reservation
from tests.architecture.addresses import views
from tests.factories.accounts import UserFactory
from tests.factories.recipes import RecipeFactory
from tests.factories.training import JobFactory, OnlineNodeFactory, ReadyDatasetFactory

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
LINES_OF_FILE = 400
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LINES_OF_FUNCTION = 60
VAGUE = {"utils", "common", "helpers", "misc"}


def sources() -> Iterator[Path]:
    for folder in ("loraforge", "nodeagent", "tools"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LINES_OF_FILE
    long = [
        f"{node.name}: {(node.end_lineno or 0) - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > LINES_OF_FUNCTION
    ]
    assert not long


def test_nothing_has_a_vague_name() -> None:
    folders = ("loraforge", "nodeagent", "tests", "tools")
    names = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    assert [str(path) for path in names if path.stem in VAGUE] == []


def test_imports_run_downward() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]


def test_the_node_agent_needs_no_django() -> None:
    """Its whole import where neither Django nor the control plane can be imported."""
    code = (
        "import sys;"
        "sys.modules.update(dict.fromkeys(('django', 'loraforge', 'rest_framework')));"
        "import nodeagent.worker, nodeagent.supervisor; print('imported')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.strip() == "imported", done.stderr


@pytest.mark.django_db
def test_every_change_of_a_model_has_its_migration() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_nothing_is_pickled() -> None:
    from loraforge.core.celery import app  # noqa: PLC0415 - reads the settings

    assert app.conf.task_serializer == "json"
    assert list(app.conf.accept_content) == ["json"]
    assert "Pickle" not in getattr(settings, "SESSION_SERIALIZER", "")
    assert "signed_cookies" not in settings.SESSION_ENGINE


def test_the_api_speaks_json_only_and_asks_who_it_is() -> None:
    rest = settings.REST_FRAMEWORK
    assert rest["DEFAULT_RENDERER_CLASSES"] == ["loraforge.core.renderers.FastJsonRenderer"]
    assert rest["DEFAULT_PERMISSION_CLASSES"] == ["loraforge.accounts.permissions.SignedIn"]
    assert settings.SIMPLE_JWT["ACCESS_TOKEN_LIFETIME"] == timedelta(minutes=10)
    assert settings.SIMPLE_JWT["CHECK_REVOKE_TOKEN"]
    assert SignedIn().has_permission(APIClient().request().wsgi_request, None) is False  # type: ignore[arg-type]


def test_only_these_let_strangers_in() -> None:
    """An endpoint without `SignedIn` is on this list, or it is a mistake."""
    open_to_all = {
        route
        for route, view in views()
        if (kind := getattr(view, "cls", None)) is not None
        and not any(issubclass(one, SignedIn) for one in kind.permission_classes)
    }
    assert open_to_all == {
        "api/v1/auth/token/",
        "api/v1/auth/token/refresh/",
        "api/v1/agent/join/",
        "api/v1/agent/inputs/<signed>/",
        "api/v1/agent/inputs/files/<signed>/",
        "api/v1/agent/inputs/secrets/<signed>/",
    }


# Models of ours that are not audited by themselves, and why. Anything else must be registered with auditlog.
UNAUDITED = {
    "artifacts.BestCheckpoint": "written by the platform",
    "artifacts.FileLease": "written by the platform",
    "artifacts.OutputFile": "written by the platform",
    "artifacts.ResultCopy": "written by the platform",
    "artifacts.ResultSaving": "written by the platform",
    "artifacts.Removal": "artifacts.removals writes an entry for its instance",
    "artifacts.RemovalNotice": "written by the platform",
    "billing.BudgetNotice": "written by the platform",
    "billing.LedgerLine": "only added; billing.services writes an entry for a correction",
    "billing.LedgerShare": "written with its line",
    "billing.Metering": "written by the platform",
    "core.OutboxMessage": "written by the platform",
    "core.Setting": "written by the platform",
    "datasets.Upload": "becomes a dataset, which is audited, or goes",
    "gateway.DeadLetter": "written by the platform; its deletion is an entry of the admin's own",
    "gateway.JournalPosition": "written by the platform",
    "instances.Attempt": "written by the platform",
    "instances.DeviceLease": "written by the platform",
    "instances.InstanceEvent": "a log itself, with the actor",
    "nodes.Device": "written by the platform",
    "notifications.Notification": "people only mark it as read",
    "recipes.RecipeVersion": "recipes.services writes an entry for its recipe",
    "recipes.UnsentForm": "one's own form on its way to a job, which is audited",
    "telemetry.LogChunk": "written by the platform",
    "telemetry.LogGap": "written by the platform",
    "telemetry.MetricRow": "written by the platform",
    "telemetry.Sample": "written by the platform",
    "telemetry.StreamPosition": "written by the platform",
    "telemetry.TrainerEvent": "written by the platform",
    "training.IdempotencyKey": "written with its job",
    "training.JobDataset": "training.services writes an entry for its job",
}


def models_of_ours() -> set[Any]:
    return {model for model in apps.get_models() if model.__module__.startswith("loraforge.")}


def test_every_model_that_people_change_is_audited() -> None:
    from auditlog.registry import auditlog  # noqa: PLC0415 - needs loaded models

    audited = {model._meta.label for model in auditlog.get_models()}
    ours = {model._meta.label for model in models_of_ours()}
    assert ours - audited == set(UNAUDITED), "register it with auditlog, or say above why not"


def test_every_model_has_a_page_in_the_admin() -> None:
    from django.contrib import admin  # noqa: PLC0415 - needs loaded models

    pages = admin.site._registry
    inline = {one.model for page in pages.values() for one in page.inlines}
    assert models_of_ours() - set(pages) - inline == set()


def test_the_committed_schema_is_current(tmp_path: Path) -> None:
    made = tmp_path / "openapi.yaml"
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(made))
    wanted = (ROOT / "docs" / "openapi.yaml").read_text()
    assert made.read_text() == wanted, (
        "run: manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml"
    )


LISTS = {
    "jobs": "/api/v1/jobs/",
    "instances": "/api/v1/instances/",
    "datasets": "/api/v1/datasets/",
    "uploads": "/api/v1/uploads/",
    "recipes": "/api/v1/recipes/",
    "nodes": "/api/v1/nodes/",
    "notifications": "/api/v1/notifications/",
    "tokens": "/api/v1/tokens/",
    "audit": "/api/v1/audit/",
    "job": "/api/v1/jobs/{job}/",
    "job attempts": "/api/v1/jobs/{job}/attempts/",
    "job events": "/api/v1/jobs/{job}/events/",
    "job shares": "/api/v1/jobs/{job}/shares/",
    "job checkpoints": "/api/v1/jobs/{job}/checkpoints/",
    "job artifacts": "/api/v1/jobs/{job}/artifacts/",
    "page of jobs": "/jobs/",
    "page of a job": "/jobs/{job}/",
    "home": "/",
    "page of the queue": "/queue/",
    "usage": "/api/v1/usage/",
    "usage lines": "/api/v1/usage/lines/",
    "usage budgets": "/api/v1/usage/budgets/",
    "page of usage": "/usage/?month=2026-11",
    "page of all usage": "/usage/all/?month=2026-11",
    "page of nodes": "/nodes/",
    "page of datasets": "/datasets/",
    "page of recipes": "/recipes/",
}
COUNTS = HERE / "query_counts.json"


def fill(count: int, owner: Any) -> int:
    """`count` more of everything; the key of the last job."""
    for _ in range(count):
        node = OnlineNodeFactory.create(gpus=2)
        job = JobFactory.create(
            owner=owner, state=State.FAILED, instance__attempt=1, instance__node=node
        )
        attempt = job.instance.attempts.create(number=1, node=node, devices=[])
        LedgerLine.objects.create(
            attempt=attempt, owner=owner, month="2026-11", node_name=node.name, gpus=1, gpu_seconds=60,
            began=NOON, ended=NOON + timedelta(minutes=1), per_hour=6, amount="0.10", currency="CNY",
        )  # fmt: skip
        Price.objects.create(node=node, per_hour=6, first_day=NOON.date(), currency="CNY")
        JobFactory.create(
            owner=owner,
            state=State.QUEUED,
            instance__queued_at=NOON,
            instance__wait_detail={"position": 1},
        )
        Reservation.objects.create(
            node=node, devices=["GPU-1"], user=owner, reason="-", starts_at=NOON, ends_at=NOON + timedelta(days=9999),
        )  # fmt: skip
        job.instance.events.create(source="draft", target="queued", actor=owner)
        ReadyDatasetFactory.create(owner=owner)
        RecipeFactory.create(owner=owner)
    return int(job.pk)


def count_of(client: Any, address: str) -> int:
    from django.db import connection  # noqa: PLC0415
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    client.get(address)
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(address)
    assert answer.status_code == 200, answer.content[:500]
    return len(queries)


@pytest.mark.django_db
@pytest.mark.parametrize("name", LISTS)
def test_the_number_of_queries_is_known_and_does_not_grow(name: str, client: Any) -> None:
    """UPDATE_QUERY_COUNTS=1 writes the committed numbers anew; look at the difference."""
    owner = UserFactory.create(admin=True)
    client.force_login(owner)
    few = count_of(client, LISTS[name].format(job=fill(2, owner)))
    many = count_of(client, LISTS[name].format(job=fill(8, owner)))
    assert many == few, "the number of queries grows with the rows"
    known: dict[str, int] = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    if os.environ.get("UPDATE_QUERY_COUNTS"):
        COUNTS.write_text(json.dumps({**known, name: many}, indent=2, sort_keys=True) + "\n")
        return
    assert many == known.get(name)


def test_every_app_of_ours_is_installed() -> None:
    folders = {path.parent.name for path in (ROOT / "loraforge").glob("*/apps.py")}
    assert folders == {
        config.label for config in apps.get_app_configs() if config.name.startswith("loraforge.")
    }
