"""For pytest: fast password hashing, no manifest of static files, throttles off."""

import tempfile
from pathlib import Path

from loraforge.settings.env import env

# Before base reads it: tests never touch a developer's data folder. Each process of a parallel run has its
# own, since ids and so the names in the storage are the same in all of them; its children share it.
_GIVEN = env.ENVIRON.get("LORAFORGE_DATA") or tempfile.mkdtemp(prefix="loraforge-test-")
_WORKER = env.ENVIRON.get("PYTEST_XDIST_WORKER", "")
_DATA = Path(_GIVEN) if Path(_GIVEN).name == _WORKER else Path(_GIVEN, _WORKER)
_DATA.mkdir(parents=True, exist_ok=True)
env.ENVIRON["LORAFORGE_DATA"] = str(_DATA)

from loraforge.settings.base import *  # noqa: E402
from loraforge.settings.base import DATA, DATABASES, REST_FRAMEWORK, STORAGES  # noqa: E402

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    **STORAGES,
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
REST_FRAMEWORK = {**REST_FRAMEWORK, "DEFAULT_THROTTLE_CLASSES": []}
AXES_ENABLED = False
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
DATA_FOLDER = Path(env.ENVIRON["LORAFORGE_DATA"])
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, as in real life: SQLite's shared memory fails at once where two threads meet.
    DATABASES["default"]["TEST"] = {"NAME": str(DATA / "test.sqlite3")}
