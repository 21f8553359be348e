"""What is wrong with a draft, by the API's field names: all of it at once, each text with its remedy."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from loraforge.core.errors import Invalid, LoraForgeError
from loraforge.swift.problems import Problem

# Fields of a job that are none of its arguments.
_FIELDS = {
    "ref_model": "ref_model",
    "teacher_model": "teacher_model",
    "reward_model": "reward_models",
    "reward_files": "reward_files",
    "processes": "processes",
}
# What SWIFT misses, and the job's own field for it.
_OWN_FIELDS = {
    "swift:model_missing": "model",
    "swift:dataset_missing": "datasets",
    "swift:calibration_missing": "datasets",
    "swift:command_unknown": "command",
}


@dataclass(frozen=True)
class Finding:
    """One text about one field."""

    field: str
    text: str


@dataclass
class Findings:
    """Collects problems (the job cannot start) and warnings (it can)."""

    problems: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    def refuse(self, name: str, text: str) -> None:
        """The field ``name`` cannot stay as it is."""
        self.problems.append(Finding(name, text))

    def warn(self, name: str, text: str) -> None:
        """Worth telling; the job may start all the same."""
        self.warnings.append(Finding(name, text))

    def refuse_error(self, name: str, error: LoraForgeError) -> None:
        """An error of another floor; its own fields, else ``name``."""
        for key, texts in (error.fields or {name: [error.message]}).items():
            for text in texts:
                self.refuse(key, text)

    def add_swift(
        self,
        problems: Iterable[Problem],
        *,
        overridden: frozenset[str] = frozenset(),
        group: str = "arguments",
    ) -> None:
        """SWIFT's findings about the fields of a group.

        overridden: arguments that the draft gave in fields of its own.
        """
        for problem in problems:
            own = _OWN_FIELDS.get(problem.id) or _FIELDS.get(problem.field)
            if problem.field in overridden:
                own = problem.field
            place = own or f"{group}.{problem.field}"
            text = _(problem.message) % problem.params
            if problem.remedy:
                parts = {"fault": text, "remedy": _(problem.remedy) % problem.params}
                text = _("%(fault)s %(remedy)s") % parts
            if problem.level == "error":
                self.refuse(place, text)
            else:
                self.warn(place, text)

    def raise_if_any(self) -> None:
        """Raise Invalid (`training:invalid_job`) with every problem under its field."""
        if not self.problems:
            return
        fields: dict[str, list[str]] = {}
        for problem in self.problems:
            fields.setdefault(problem.field, []).append(problem.text)
        raise Invalid(
            "training:invalid_job",
            _("This job cannot start yet. Correct the marked fields."),
            fields=fields,
        )
