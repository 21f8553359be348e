from auditlog.registry import auditlog
from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Recipe(models.Model):
    """A named set of arguments. What it says stands in its versions, of which the newest counts.

    command and model are those of the newest version, for lists.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="recipes"
    )
    name = models.CharField(_("name"), max_length=120)
    description = models.TextField(_("description"), max_length=2000, blank=True)
    version = models.PositiveIntegerField(_("version"), default=1)  # number of the newest
    command = models.CharField(_("job type"), max_length=12)
    model = models.CharField(_("base model"), max_length=500, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(_("changed"), db_default=Now())
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("recipe")
        verbose_name_plural = _("recipes")
        ordering = ("-changed_at", "-id")
        permissions = [("use_recipe", "Can see the recipe and make jobs from it")]
        indexes = [models.Index(fields=("owner", "-changed_at"), name="recipes_owner_newest")]

    def __str__(self) -> str:
        return self.name


class RecipeVersion(models.Model):
    """What a recipe said from one save to the next. Never changed: going back makes a new one."""

    recipe = models.ForeignKey(Recipe, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField(_("number"))
    draft = models.JSONField(default=dict)  # see `contents`
    catalogue_version = models.CharField(max_length=20)
    note = models.CharField(_("note"), max_length=200, blank=True)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("version of a recipe")
        verbose_name_plural = _("versions of recipes")
        ordering = ("-number",)
        constraints = [
            models.UniqueConstraint(fields=("recipe", "number"), name="recipes_version_once")
        ]

    def __str__(self) -> str:
        return f"{self.recipe} {self.number}"


class UnsentForm(models.Model):
    """A form of a new job as somebody left it; goes when it is sent or thrown away.

    source: what the form was filled from, "new" = nothing. version: one more at each save, so that a second
    tab overwrites nothing in silence.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="unsent_forms"
    )
    source = models.CharField(_("filled from"), max_length=100)
    draft = models.JSONField(default=dict)
    version = models.PositiveIntegerField(_("version"), default=1)
    tab = models.CharField(max_length=40, blank=True)  # the page of a browser that kept it last
    saved_at = models.DateTimeField(_("saved"), db_default=Now())

    class Meta:
        verbose_name = _("unsent form")
        verbose_name_plural = _("unsent forms")
        ordering = ("-saved_at", "-id")
        constraints = [
            models.UniqueConstraint(fields=("owner", "source"), name="recipes_unsent_once")
        ]

    def __str__(self) -> str:
        return self.source


auditlog.register(Recipe, exclude_fields=["changed_at"])
