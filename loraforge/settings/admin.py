"""The looks of /admin/ (django-unfold)."""

from typing import Any

from django.templatetags.static import static
from django.utils.translation import gettext_lazy as _


def _favicon(_request: Any) -> str:
    return static("favicon.svg")


# --lf-accent of static/src/tokens.css and its neighbours.
_ACCENT = {
    "50": "oklch(97% .014 277)",
    "100": "oklch(94% .029 277)",
    "200": "oklch(88% .060 277)",
    "300": "oklch(80% .100 277)",
    "400": "oklch(69% .145 277)",
    "500": "oklch(60% .170 277)",
    "600": "oklch(51% .170 277)",
    "700": "oklch(45% .155 277)",
    "800": "oklch(39% .130 277)",
    "900": "oklch(34% .105 277)",
    "950": "oklch(25% .080 277)",
}

# The greys of the same file.
_GREYS = {
    "50": "#f7f7f8",
    "100": "#f1f2f4",
    "200": "#e4e5e9",
    "300": "#cfd1d8",
    "400": "#8b8f9d",
    "500": "#646874",
    "600": "#545763",
    "700": "#3a3d49",
    "800": "#282a33",
    "900": "#16171d",
    "950": "#0f1014",
}


def _styles(_request: Any) -> str:
    return static("dist/admin.css")


UNFOLD = {
    "SITE_TITLE": "LoRAForge",
    "SITE_HEADER": "LoRAForge",
    "SITE_SUBHEADER": _("For operators"),
    "SITE_SYMBOL": "tune",
    "SITE_URL": "/",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _favicon}],
    "COLORS": {"primary": _ACCENT, "base": _GREYS},
    "STYLES": [_styles],
    # Django's own history knows only what its forms changed; pages link to the audit log instead.
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": True,
    "SHOW_LANGUAGES": True,
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": "loraforge.monitoring.navigation.sidebar",
    },
    "ACCOUNT": {"navigation": []},
}
