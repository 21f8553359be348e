"""The admin's sidebar: what an operator looks for, by what it is about."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Groups of links, for unfold (UNFOLD["SIDEBAR"]["navigation"])."""
    if not access.may(request.user, Action.OPERATE):
        return []
    return [
        _group(_("People"), _people()),
        _group(_("Work"), _work()),
        _group(_("Machines"), _machines()),
        _group(_("Costs"), _costs()),
        _group(_("What arrived"), _arrived()),
        _group(_("Platform"), _platform()),
        _group(_("Audit"), [_item(_("Audit log"), "history", "auditlog_logentry")]),
    ]


def _group(title: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"title": title, "separator": True, "items": items}


def _item(title: str, icon: str, model: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse(f"admin:{model}_changelist")}


def _people() -> list[dict[str, Any]]:
    return [
        _item(_("Users"), "person", "accounts_user"),
        _item(_("Groups"), "groups", "auth_group"),
        _item(_("API tokens"), "key", "accounts_apitoken"),
        _item(_("Secrets"), "lock", "accounts_secret"),
        _item(_("Failed sign-ins"), "lock", "axes_accessattempt"),
    ]


def _work() -> list[dict[str, Any]]:
    return [
        _item(_("Jobs"), "model_training", "training_job"),
        _item(_("Instances"), "deployed_code", "instances_instance"),
        _item(_("Attempts"), "replay", "instances_attempt"),
        _item(_("Limits of running jobs"), "speed", "scheduling_runcap"),
        _item(_("Reservations"), "event", "scheduling_reservation"),
        _item(_("Datasets"), "database", "datasets_dataset"),
        _item(_("Uploads"), "upload", "datasets_upload"),
        _item(_("Recipes"), "menu_book", "recipes_recipe"),
        _item(_("Unsent forms"), "edit_note", "recipes_unsentform"),
        _item(_("Output files"), "folder", "artifacts_outputfile"),
        _item(_("Best checkpoints"), "star", "artifacts_bestcheckpoint"),
        _item(_("Saved results"), "inventory_2", "artifacts_resultcopy"),
        _item(_("Savings of results"), "cloud_download", "artifacts_resultsaving"),
        _item(_("Removals of files"), "delete", "artifacts_removal"),
        _item(_("Notices of removals"), "schedule", "artifacts_removalnotice"),
        _item(_("Leases of files"), "lock", "artifacts_filelease"),
        _item(_("Notices"), "notifications", "notifications_notification"),
    ]


def _costs() -> list[dict[str, Any]]:
    return [
        _item(_("Prices"), "payments", "billing_price"),
        _item(_("Budgets"), "savings", "billing_budget"),
        _item(_("Ledger"), "receipt_long", "billing_ledgerline"),
        _item(_("Positions of the meter"), "speed", "billing_metering"),
        _item(_("Notices of budgets"), "notifications", "billing_budgetnotice"),
    ]


def _arrived() -> list[dict[str, Any]]:
    return [
        _item(_("File positions"), "bookmarks", "telemetry_streamposition"),
        _item(_("Pieces of logs"), "article", "telemetry_logchunk"),
        _item(_("Gaps of logs"), "content_cut", "telemetry_loggap"),
        _item(_("Metric rows"), "show_chart", "telemetry_metricrow"),
        _item(_("Events of trainers"), "event", "telemetry_trainerevent"),
        _item(_("Readings of nodes"), "monitor_heart", "telemetry_sample"),
    ]


def _machines() -> list[dict[str, Any]]:
    return [
        _item(_("Nodes"), "dns", "nodes_node"),
        _item(_("Devices"), "memory", "nodes_device"),
        _item(_("Device leases"), "handshake", "instances_devicelease"),
        _item(_("Migrations"), "move_down", "migration_migration"),
        _item(_("Drains"), "logout", "migration_drain"),
        _item(_("Prefetches"), "download", "migration_prefetch"),
    ]


def _platform() -> list[dict[str, Any]]:
    return [
        {"title": "Flower", "icon": "local_florist", "link": reverse("monitoring:flower")},
        _item(_("Outbox"), "outbox", "core_outboxmessage"),
        _item(_("Dead letters"), "report", "gateway_deadletter"),
        _item(_("Journal positions"), "bookmark", "gateway_journalposition"),
        _item(_("Idempotency keys"), "key", "training_idempotencykey"),
        _item(_("Facts of this installation"), "info", "core_setting"),
        {"title": _("API documentation"), "icon": "api", "link": reverse("docs")},
        {
            "title": _("Back to LoRAForge"),
            "icon": "arrow_back",
            "link": reverse("dashboard:home"),
            "active": False,
        },
    ]
