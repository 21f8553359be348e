"""Forms of new jobs as their owners left them: kept at each change, gone once sent or thrown away."""

from collections.abc import Mapping

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core.errors import Conflict, Invalid
from loraforge.recipes.contents import bytes_require
from loraforge.recipes.models import UnsentForm

SOURCE_MAX = 100
TAB_MAX = 40
KEPT_MOST = 20  # forms of one person; the oldest goes


def unsent_get(*, user: User, source: str) -> UnsentForm | None:
    """One's own form of this source; None when it was never kept, or is gone."""
    return UnsentForm.objects.filter(owner=user, source=source).first()


def unsent_save(
    *, actor: User, source: str, draft: Mapping[str, object], version: int, tab: str = ""
) -> UnsentForm:
    """Keep the form as it is now. version: that was last seen, 0 = none; tab: which page of a browser asks.

    Raises Invalid for what is not kept, and Conflict (`recipes:form_changed`) when another page has kept or
    sent it since: nothing is overwritten in silence. A page that lost an answer may send its own again.
    """
    access.require(actor, Action.CREATE)
    _words_require(source, tab)
    bytes_require(draft)
    try:
        with transaction.atomic():
            rows = UnsentForm.objects.select_for_update().filter(owner=actor, source=source)
            row = rows.first() or UnsentForm(owner=actor, source=source, version=0)
            is_own = bool(tab) and row.tab == tab
            if row.version != version and not is_own:
                raise _changed()
            row.draft, row.tab, row.saved_at = dict(draft), tab, timezone.now()
            row.version += 1
            row.save()
    except IntegrityError as error:  # two pages kept their first at once
        raise _changed() from error
    _oldest_remove(actor)
    return row


def unsent_discard(*, actor: User, source: str, version: int, tab: str = "") -> None:
    """It was sent, or thrown away: as that page last saw it. What another page has kept since stays.

    Doing it twice changes nothing.
    """
    seen = Q(version=version)
    if tab:
        seen |= Q(tab=tab)
    UnsentForm.objects.filter(owner=actor, source=source).filter(seen).delete()


def _changed() -> Conflict:
    text = _("This form was changed or sent in another tab.")
    return Conflict("recipes:form_changed", text)


def _words_require(source: str, tab: str) -> None:
    if not source or len(source) > SOURCE_MAX or not source.isprintable():
        text = _("Say what the form was filled from in at most %(limit)s characters.")
        said = text % {"limit": SOURCE_MAX}
        raise Invalid("recipes:bad_source", said, fields={"source": [said]})
    if len(tab) > TAB_MAX or not tab.isprintable():
        said = _("At most %(limit)s characters of text.") % {"limit": TAB_MAX}
        raise Invalid("recipes:bad_tab", said, fields={"tab": [said]})


def _oldest_remove(owner: User) -> None:
    """All but the newest of one person."""
    kept = UnsentForm.objects.filter(owner=owner).order_by("-saved_at", "-pk")
    old = list(kept.values_list("pk", flat=True)[KEPT_MOST : KEPT_MOST + 100])
    if old:
        UnsentForm.objects.filter(pk__in=old).delete()
