"""Rows that a measurement needs. Import after `stage` and `django.setup()`."""

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore

from loraforge.accounts.models import Role, User
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.states import State
from loraforge.nodes.models import Node


def running_job() -> Instance:
    """A job in its first attempt."""
    owner, _made = User.objects.get_or_create(username="bench-owner")
    node, _made = Node.objects.get_or_create(name="bench")
    instance = Instance.objects.create(
        owner=owner, name="bench", state=State.RUNNING, attempt=1, node=node
    )
    Attempt.objects.create(instance=instance, number=1, node=node)
    return instance


def session_cookies(count: int) -> list[str]:
    """Cookies of that many signed-in operators."""
    cookies = []
    for number in range(count):
        user = User.objects.create(username=f"bench-{number}", role=Role.OPERATOR)
        store = SessionStore()
        store[SESSION_KEY] = str(user.pk)
        store[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        store[HASH_SESSION_KEY] = user.get_session_auth_hash()
        store.save()
        cookies.append(f"{settings.SESSION_COOKIE_NAME}={store.session_key}")
    return cookies
