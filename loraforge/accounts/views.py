"""Pages: sign in and out, language, and one's own account."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.views import LoginView, LogoutView
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.generic import View

from loraforge.accounts import services
from loraforge.accounts.entrypoints import Page
from loraforge.accounts.forms import PasswordForm, SecretForm, SignInForm, TokenForm
from loraforge.accounts.models import User
from loraforge.core.errors import LoraForgeError
from loraforge.core.texts import number_read

LANGUAGE_COOKIE_AGE_S = 365 * 24 * 3600


def _language_remember(response: HttpResponse, language: str) -> None:
    response.set_cookie(
        settings.LANGUAGE_COOKIE_NAME,
        language,
        max_age=LANGUAGE_COOKIE_AGE_S,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )


class SignInPage(LoginView):
    """Sign in; a person's own language comes with them."""

    template_name = "accounts/login.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def form_valid(self, form: Form) -> HttpResponse:
        response = super().form_valid(form)  # type: ignore[arg-type]
        user = self.request.user
        if isinstance(user, User) and user.language:
            _language_remember(response, user.language)
        return response


class SignOutPage(LogoutView):
    """Sign out (POST only)."""


class LanguagePage(View):
    """Stores the language of the pages: in a cookie, and on the account of who is signed in."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        language = request.POST.get("language", "")
        target = request.POST.get("next", "/")
        if not url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()}):
            target = "/"
        response = redirect(urlsplit(target).geturl())
        if language in dict(settings.LANGUAGES):
            _language_remember(response, language)
            if isinstance(request.user, User):
                services.language_set(actor=request.user, language=language)
        return response


class AccountPage(Page):
    """One's own account: password, language, theme, API tokens."""

    template_name = "accounts/account.html"

    @property
    def person(self) -> User:
        user = self.request.user
        assert isinstance(user, User)  # noqa: S101 - Page lets nobody else in
        return user

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """kwargs: a bound form to show again, or the text of a new token."""
        return super().get_context_data(
            **{
                "password_form": PasswordForm(user=self.person),
                "token_form": TokenForm(),
                "tokens": self.person.api_tokens.all(),
                "secret_form": SecretForm(),
                "secrets": self.person.secrets.all(),
                **kwargs,
            }
        )

    def post(self, request: HttpRequest) -> HttpResponse:
        handlers = {
            "password": self._password,
            "token": self._token,
            "token_delete": self._token_delete,
            "secret": self._secret,
            "secret_delete": self._secret_delete,
        }
        handler = handlers.get(request.POST.get("what", ""))
        return handler() if handler else redirect("accounts:account")

    def _again(self, **context: Any) -> HttpResponse:
        return self.render_to_response(self.get_context_data(**context))

    def _password(self) -> HttpResponse:
        form = PasswordForm(self.request.POST, user=self.person)
        if form.is_valid():
            try:
                services.password_set(
                    actor=self.person, user=self.person, password=form.cleaned_data["password"]
                )
            except LoraForgeError as error:
                form.add_error("password", error.fields.get("password") or [error.message])
            else:
                update_session_auth_hash(self.request, self.person)
                messages.success(self.request, _("Your password was changed."))
                return redirect("accounts:account")
        return self._again(password_form=form)

    def _token(self) -> HttpResponse:
        form = TokenForm(self.request.POST)
        if form.is_valid():
            try:
                token, text = services.token_create(
                    actor=self.person, name=form.cleaned_data["name"], expires_at=form.expires_at
                )
            except LoraForgeError as error:
                form.add_error(None, error.message)
            else:
                return self._again(new_token=token, new_token_text=text)
        return self._again(token_form=form)

    def _token_delete(self) -> HttpResponse:
        number = self.request.POST.get("token", "")
        services.token_delete(actor=self.person, token_id=number_read(number) or 0)
        messages.success(self.request, _("The API token was deleted."))
        return redirect("accounts:account")

    def _secret(self) -> HttpResponse:
        form = SecretForm(self.request.POST)
        if form.is_valid():
            try:
                services.secret_put(actor=self.person, **form.cleaned_data)
            except LoraForgeError as error:
                form.add_error("value", error.message)
            else:
                messages.success(self.request, _("The secret was stored."))
                return redirect("accounts:account")
        return self._again(secret_form=form)

    def _secret_delete(self) -> HttpResponse:
        services.secret_delete(actor=self.person, kind=self.request.POST.get("kind", ""))
        messages.success(self.request, _("The secret was deleted."))
        return redirect("accounts:account")
