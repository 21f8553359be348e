"""For real use: nothing weak is accepted silently."""

from django.core.exceptions import ImproperlyConfigured

from loraforge.settings.base import *
from loraforge.settings.base import ALLOWED_HOSTS
from loraforge.settings.env import env

for _name in ("DATABASE_URL", "REDIS_URL", "LORAFORGE_SECRET_KEY", "LORAFORGE_ALLOWED_HOSTS"):
    if not env.str(_name, default=""):
        raise ImproperlyConfigured(
            f"{_name} must be set in production; see README, 'Run it for real'"
        )

# The probe of its own container asks by this name.
ALLOWED_HOSTS = [*ALLOWED_HOSTS, "127.0.0.1"]
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
SECURE_SSL_REDIRECT = env.bool("LORAFORGE_SSL_REDIRECT", default=True)
# Probes and Prometheus come from inside, without TLS.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
if env.bool("LORAFORGE_AGENT_PLAIN", default=False):
    # So does a node agent on a network that is this machine's own.
    SECURE_REDIRECT_EXEMPT.append(r"^api/v1/agent/")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
