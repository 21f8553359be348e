import hashlib

from auditlog.registry import auditlog
from django.contrib.auth.models import AbstractUser, Group
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Role(models.TextChoices):
    """What a user is to the platform; `access` says what each may do."""

    RESEARCHER = "researcher", _("Researcher")
    OPERATOR = "operator", _("Operator")
    ADMIN = "admin", _("Admin")
    VIEWER = "viewer", _("Viewer")


class User(AbstractUser):
    """A person or a program that signs in."""

    role = models.CharField(_("role"), max_length=12, choices=Role.choices, default=Role.RESEARCHER)
    language = models.CharField(_("language"), max_length=10, blank=True)

    class Meta(AbstractUser.Meta):
        constraints = [
            models.CheckConstraint(
                condition=models.Q(role__in=Role.values), name="accounts_user_role_known"
            )
        ]


class ApiToken(models.Model):
    """A long-lived token for programs. Only its SHA-256 is kept; the text is shown once."""

    PREFIX = "lfp_"

    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(_("name"), max_length=100)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.name

    @staticmethod
    def digest_of(text: str) -> str:
        """SHA-256 in hex; the text has 256 bits of its own, so no salt is needed."""
        return hashlib.sha256(text.encode()).hexdigest()


class SecretKind(models.TextChoices):
    """What a secret opens."""

    MODELSCOPE = "modelscope", _("ModelScope token")
    HUGGINGFACE = "huggingface", _("Hugging Face token")
    WANDB = "wandb", _("Weights & Biases API key")
    SWANLAB = "swanlab", _("SwanLab API key")


class Secret(models.Model):
    """A person's secret for a service elsewhere. Only its sealed form is kept, and it is never shown again."""

    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="secrets")
    kind = models.CharField(_("kind"), max_length=12, choices=SecretKind.choices)
    sealed = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("secret")
        verbose_name_plural = _("secrets")
        ordering = ("kind",)
        constraints = [
            models.UniqueConstraint(fields=("owner", "kind"), name="accounts_secret_once")
        ]

    def __str__(self) -> str:
        return str(self.get_kind_display())

    @property
    def purpose(self) -> str:
        """What it is sealed for: a row that is copied to another person does not open."""
        return f"{self.owner_id}:{self.kind}"


auditlog.register(User, exclude_fields=["password", "last_login"], m2m_fields={"groups"})
auditlog.register(Group)
auditlog.register(ApiToken, exclude_fields=["digest", "last_used_at"])
auditlog.register(Secret, include_fields=["owner", "kind", "changed_at"])
