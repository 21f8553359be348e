"""Forms of the account page; what they ask for is done by services."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from loraforge.accounts.models import SecretKind, User

INPUT = {"class": "form-control"}


class SignInForm(AuthenticationForm):
    """Name and password. Wrong ones and disabled accounts get the same answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        wrong = _("User name or password is wrong. Both tell upper and lower case apart.")
        self.error_messages = {**self.error_messages, "invalid_login": wrong}
        self.fields["username"].widget.attrs.update({**INPUT, "autocomplete": "username"})
        self.fields["password"].widget.attrs.update({**INPUT, "autocomplete": "current-password"})


class PasswordForm(forms.Form):
    """A new password; the current one proves who asks. How strong it must be, the service says."""

    current = forms.CharField(
        label=_("Current password"),
        widget=forms.PasswordInput(attrs={**INPUT, "autocomplete": "current-password"}),
    )
    password = forms.CharField(
        label=_("New password"),
        widget=forms.PasswordInput(attrs={**INPUT, "autocomplete": "new-password"}),
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_current(self) -> str:
        current = str(self.cleaned_data["current"])
        if not self.user.check_password(current):
            raise forms.ValidationError(_("This is not your current password."))
        return current


class TokenForm(forms.Form):
    """A new API token: what it is for, and how long it lives."""

    DAYS = [("30", _("30 days")), ("90", _("90 days")), ("365", _("1 year")), ("", _("No expiry"))]

    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        widget=forms.TextInput(attrs={**INPUT, "placeholder": _("What it is for")}),
    )
    days = forms.ChoiceField(
        label=_("Expires"),
        choices=DAYS,
        required=False,
        initial="90",
        widget=forms.Select(attrs={"class": "form-select"}),
    )

    @property
    def expires_at(self) -> datetime | None:
        """The moment it ends; None = never."""
        days = self.cleaned_data["days"]
        return timezone.now() + timedelta(days=int(days)) if days else None


class SecretForm(forms.Form):
    """A secret for a service elsewhere; the field never shows what was typed before."""

    kind = forms.ChoiceField(
        label=_("Kind"),
        choices=SecretKind.choices,
        widget=forms.Select(attrs={"class": "form-select"}),
    )
    value = forms.CharField(
        label=_("Secret"),
        max_length=2000,
        widget=forms.PasswordInput(
            attrs={**INPUT, "autocomplete": "off", "placeholder": _("Paste it here")}
        ),
    )
