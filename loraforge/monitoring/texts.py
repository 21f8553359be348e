"""Texts of the admin's libraries that come without Chinese: named here, they are in our translations."""

from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

UNFOLD = (
    _(" By %(filter_title)s "),
    _("All applications"),
    _("Apply Filters"),
    _("Expand row"),
    _("General"),
    _("Go back"),
    _("More actions"),
    _("No data"),
    _("No results found"),
    _("Reset filters"),
    _("Return to site"),
    _("Run"),
    _("Select action"),
    _("Select action to run"),
    _("Select all %(total_count)s %(module_name)s"),
    _("Select all rows"),
    _("Select record"),
    _("Select value"),
    _("Sorting priority: %(priority_number)s"),
    _("System"),
    _("This item will be deleted."),
    _("This page yielded into no results. Create a new item or reset your filters."),
    _("Toggle password visibility"),
    _("Type to search"),
    ngettext_lazy("%(counter)s result", "%(counter)s results", "counter"),
)

AUDITLOG = (_("create"), _("update"), _("delete"), _("access"))
