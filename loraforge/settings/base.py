"""The embedded default: SQLite and an embedded Redis below `LORAFORGE_DATA`, one machine."""

from datetime import timedelta
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from loraforge.settings.admin import UNFOLD  # noqa: F401 - a setting like the others here
from loraforge.settings.env import BASE_DIR, currency, data_folder, env, secret_key, time_zone

DATA = data_folder()
SECRET_KEY = secret_key(DATA)
# keys of before: what they signed or sealed is still taken
SECRET_KEY_FALLBACKS = env.list("LORAFORGE_SECRET_KEY_FALLBACKS", default=[])
DEBUG = False
PORT = env.int("LORAFORGE_PORT", default=8000)
ALLOWED_HOSTS = env.list(
    "LORAFORGE_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]", "testserver"]
)
CSRF_TRUSTED_ORIGINS = env.list("LORAFORGE_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "rest_framework",
    "rest_framework_simplejwt.token_blacklist",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "guardian",
    "auditlog",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_htmx",
    "django_prometheus",
    "loraforge.core",
    "loraforge.accounts",
    "loraforge.nodes",
    "loraforge.nodelink",
    "loraforge.datasets",
    "loraforge.modelhub",
    "loraforge.recipes",
    "loraforge.instances",
    "loraforge.artifacts",
    "loraforge.telemetry",
    "loraforge.billing",
    "loraforge.scheduling",
    "loraforge.training",
    "loraforge.migration",
    "loraforge.gateway",
    "loraforge.notifications",
    "loraforge.audit",
    "loraforge.dashboard",
    "loraforge.monitoring",
    "loraforge.embedded",
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "loraforge.core.middleware.CompressMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "loraforge.core.middleware.AuditMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
    "loraforge.core.middleware.PlainAddressMiddleware",
    "loraforge.core.middleware.NoStoreMiddleware",
    "loraforge.core.middleware.ExpectedErrorMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "loraforge.urls"
ASGI_APPLICATION = "loraforge.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
                "loraforge.accounts.entrypoints.page_context",
            ],
        },
    },
]

# --- storage -------------------------------------------------------------------------------------------
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
_database = env.db_url("DATABASE_URL", default=f"sqlite:///{DATA / 'loraforge.sqlite3'}")
if _database["ENGINE"].endswith("sqlite3"):
    # A connection belongs to a thread, and there are few threads; a new one reads the whole schema.
    _database["CONN_MAX_AGE"] = None
    # IMMEDIATE: a transaction that reads first would otherwise fail at once when it turns to writing.
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000;",
    }
else:
    # Persistent connections open one per request under ASGI and run out; the pool does not.
    _database["CONN_MAX_AGE"] = 0
    if _database["ENGINE"] == "django.db.backends.postgresql":
        _database["ENGINE"] = "loraforge.core.postgres"  # looks at a connection before it is used
    _database["OPTIONS"] = {
        "pool": {"min_size": 1, "max_size": env.int("LORAFORGE_DB_POOL", default=10), "timeout": 10}
    }
DATABASES = {"default": _database}

REDIS_URL = env.str("REDIS_URL", default=f"unix://{DATA / 'redis' / 'redis.sock'}?db=0")
# What a node agent is told at joining; differs from REDIS_URL when Redis has another name or user for nodes.
AGENT_REDIS_URL = env.str("LORAFORGE_AGENT_REDIS_URL", default=REDIS_URL)
# Each node agent gets a Redis account of its own, for its own keys; REDIS_URL's may then use ACL SETUSER.
REDIS_NODE_ACL = env.bool("LORAFORGE_REDIS_NODE_ACL", default=False)
if REDIS_NODE_ACL and AGENT_REDIS_URL.startswith("unix:"):
    raise ImproperlyConfigured(
        "LORAFORGE_REDIS_NODE_ACL needs a Redis on TCP; a unix socket is one machine's"
    )
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": DATA / "storage"},
    },
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
UPLOAD_FOLDER = DATA / "uploads"
UPLOAD_MAX_BYTES = env.int("LORAFORGE_UPLOAD_MAX_BYTES", default=50 * 1024**3)
# Results of ended jobs on their way from the node; once verified they go to the default storage.
RESULT_FOLDER = DATA / "saving"
# Of one job: log, metrics, arguments, then the weights of its last and best checkpoints, then the rest.
RESULT_MAX_BYTES = env.int("LORAFORGE_RESULT_MAX_BYTES", default=20 * 1024**3)
RESULT_MAX_CHECKPOINTS = env.int("LORAFORGE_RESULT_MAX_CHECKPOINTS", default=2)
UPLOAD_CHUNK_MAX_BYTES = 16 * 1024**2
UPLOAD_EXPIRES = timedelta(hours=24)
# Uploads are refused (507) when they would leave less than this free on the disk.
UPLOAD_RESERVE_BYTES = env.int("LORAFORGE_UPLOAD_RESERVE_BYTES", default=1024**3)
# What the datasets of one person may take (413); 0 = no limit. Operators and admins have none.
DATASET_QUOTA_BYTES = env.int("LORAFORGE_DATASET_QUOTA_BYTES", default=200 * 1024**3)

# --- accounts ------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
    "guardian.backends.ObjectPermissionBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
ANONYMOUS_USER_NAME = None  # guardian: no anonymous user row
GUARDIAN_MONKEY_PATCH_USER = False
LOGIN_URL = "accounts:login"
LOGIN_REDIRECT_URL = "dashboard:home"
LOGOUT_REDIRECT_URL = "accounts:login"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 7 * 24 * 3600
AXES_FAILURE_LIMIT = 8
AXES_COOLOFF_TIME = timedelta(minutes=10)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_DISABLE_ACCESS_LOG = True
AXES_LOCKOUT_CALLABLE = "loraforge.core.errorpages.locked_out"
CSRF_FAILURE_VIEW = "loraforge.core.errorpages.csrf_failure"

# --- API -----------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "loraforge.accounts.authentication.ApiTokenAuthentication",
        "loraforge.accounts.authentication.JwtAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["loraforge.accounts.permissions.SignedIn"],
    "DEFAULT_PAGINATION_CLASS": "loraforge.core.api.Pagination",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "loraforge.core.operations.OperationSchema",
    "DEFAULT_RENDERER_CLASSES": ["loraforge.core.renderers.FastJsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["loraforge.core.parsers.StrictJsonParser"],
    "EXCEPTION_HANDLER": "loraforge.core.api.exception_handler",
    # Who is throttled is who connects (uvicorn believes its proxy, and nobody else, about that).
    "NUM_PROXIES": 0,
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.ScopedRateThrottle"],
    # A team of fifty may sign in at nine from behind one address; guesses are counted by axes.
    "DEFAULT_THROTTLE_RATES": {"token": "100/min", "join": "60/min"},
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=10),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
    "ROTATE_REFRESH_TOKENS": True,
    "BLACKLIST_AFTER_ROTATION": True,
    "UPDATE_LAST_LOGIN": False,
    "CHECK_REVOKE_TOKEN": True,
    "ALGORITHM": "HS256",
    "AUDIENCE": "loraforge-api",
    "ISSUER": "loraforge",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "LoRAForge",
    "DESCRIPTION": "Fine-tune language models on a room full of GPUs. Errors are {error: {id, message, fields}}.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SERVE_PERMISSIONS": ["loraforge.accounts.permissions.SignedIn"],
    "ENUM_NAME_OVERRIDES": {
        "DatasetKindEnum": "loraforge.datasets.models.Dataset.Kind",
        "DatasetStateEnum": "loraforge.datasets.models.DatasetState",
        "ModelKindEnum": "loraforge.modelhub.locations.KINDS",
        "NodeStateEnum": "loraforge.nodes.models.NodeState",
        "HolderKindEnum": "loraforge.accounts.sharing.HOLDER_KINDS",
        "DeviceKindEnum": "loraforge.nodes.models.DeviceKind",
        "InstanceKindEnum": "loraforge.instances.models.Kind",
        "InstanceStateEnum": "loraforge.instances.states.State",
        "PrefetchHubEnum": "loraforge.migration.models.Prefetch.Hub",
    },
}

# --- messages ------------------------------------------------------------------------------------------
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "lf:layer"},
    }
}

# --- the platform ---------------------------------------------------------------------------------------
RUNTIME = env.str("LORAFORGE_RUNTIME", default="auto")
SWIFT_IMAGE = env.str("LORAFORGE_SWIFT_IMAGE", default="loraforge/swift:4.6.0")
# Like PATH, as node agents read it; commas are understood as well.
_roots = env.str("LORAFORGE_MODEL_ROOTS", default="").replace(",", ":").split(":")
MODEL_ROOTS = [root for root in _roots if root] or [str(DATA / "models"), str(DATA / "demo")]
MAX_RUNNING = env.int("LORAFORGE_MAX_RUNNING", default=8)
MAX_RUNNING_PER_USER = env.int("LORAFORGE_MAX_RUNNING_PER_USER", default=1)
# Of all members of a group together; 0 = no limit. Operators set nearer limits in the administration.
MAX_RUNNING_PER_GROUP = env.int("LORAFORGE_MAX_RUNNING_PER_GROUP", default=0)
# Of a kind of job, e.g. `sft=6,pt=2`: a SWIFT command, or what else occupies nodes.
MAX_RUNNING_PER_KIND = env.dict("LORAFORGE_MAX_RUNNING_PER_KIND", cast={"value": int}, default={})
# Whoever has waited so long without a start goes first; at least a minute.
QUEUE_AGED_S = max(60, env.int("LORAFORGE_QUEUE_AGED_S", default=86400))
# So long before a reservation its devices take no job of others whose longest run is not known.
RESERVATION_LEAD_S = env.int("LORAFORGE_RESERVATION_LEAD_S", default=86400)
# Days after its end for which a job's files are kept; 0 = for ever.
RETENTION_DAYS = env.int("LORAFORGE_RETENTION_DAYS", default=7)
# Where the web process finds Flower, which only it may reach: `unix:///path`, or `http://user:password@host:port`.
FLOWER_URL = env.str("LORAFORGE_FLOWER_URL", default=f"unix://{DATA / 'flower' / 'flower.sock'}")
# Bearer for /metrics; empty = only from this machine.
METRICS_TOKEN = env.str("LORAFORGE_METRICS_TOKEN", default="")
# What the files of one job may take on its node before it is ended; 0 = no limit. A node may set a lower one.
JOB_DISK_BYTES = env.int("LORAFORGE_JOB_DISK_BYTES", default=500 * 1024**3)
STOP_GRACE_S = env.int("LORAFORGE_STOP_GRACE_S", default=30)
# A checkpoint that is being written when a job is stopped may take so long in all, as long as it grows.
STOP_SAVE_MAX_S = max(STOP_GRACE_S, env.int("LORAFORGE_STOP_SAVE_MAX_S", default=1800))
CHECKPOINT_EVERY_S = env.int("LORAFORGE_CHECKPOINT_EVERY_S", default=600)
# Longest run of a job by its owner's role, in seconds; 0 = without limit.
MAX_RUN_S = {
    role: env.int(f"LORAFORGE_MAX_RUN_{role.upper()}_S", default=0)
    for role in ("researcher", "operator", "admin")
}
# What prices and costs are in, and by whose calendar they change and months end. Not the pages' own time.
CURRENCY = currency(env.str("LORAFORGE_CURRENCY", default="CNY"))
BILLING_TIME_ZONE = time_zone(env.str("LORAFORGE_BILLING_TIME_ZONE", default="UTC"))
# Seconds of silence after which a node gets each state, and of patience after the control plane was deaf.
NODE_SUSPECT_S = env.int("LORAFORGE_NODE_SUSPECT_S", default=20)
NODE_OFFLINE_S = env.int("LORAFORGE_NODE_OFFLINE_S", default=45)
# A move of a running job: how long its source may take to save, how long the copy may stand still, how long
# devices of the target are waited for, how long the source's files wait for the target's own checkpoint.
MIGRATION_FREEZE_S = env.int("LORAFORGE_MIGRATION_FREEZE_S", default=900)
MIGRATION_STALL_S = env.int("LORAFORGE_MIGRATION_STALL_S", default=600)
MIGRATION_RESERVE_S = env.int("LORAFORGE_MIGRATION_RESERVE_S", default=300)
MIGRATION_RELEASE_S = env.int("LORAFORGE_MIGRATION_RELEASE_S", default=7200)
# Of a job that runs, the newest whole checkpoint is copied to the platform's storage too: no oftener than
# every so many seconds; 0 = only when the job ends.
REPLICATE_EVERY_S = env.int("LORAFORGE_REPLICATE_EVERY_S", default=0)
NODE_LOST_S = env.int("LORAFORGE_NODE_LOST_S", default=900)
RESTART_GRACE_S = env.int("LORAFORGE_RESTART_GRACE_S", default=120)

# --- language, time, static -----------------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("LORAFORGE_STATIC_ROOT", default=str(DATA / "staticfiles")))
STATICFILES_DIRS = [BASE_DIR / "static"]

# --- security -------------------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "EXCLUDE_URL_PREFIXES": ["/admin/", "/api/docs/"],
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "connect-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    },
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024**2

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "redact": {"()": "loraforge.core.redaction.RedactionFilter"},
        "strangers": {"()": "loraforge.core.redaction.StrangersFilter"},
    },
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["strangers", "redact"],
        }
    },
    # One line for every call to a node's file service says nothing.
    "loggers": {"httpx": {"level": "WARNING"}, "axes": {"level": "WARNING"}},
    "root": {"handlers": ["console"], "level": env.str("LORAFORGE_LOG_LEVEL", default="INFO")},
}
