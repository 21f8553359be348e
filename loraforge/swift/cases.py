"""What a rule over several arguments looks at: what was given, and what is known of the job beside it."""

from collections.abc import Callable, Iterator

import msgspec

from loraforge.swift.catalogue import Command, Value
from loraforge.swift.problems import Problem


class JobFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a job beside its arguments.

    has_model, has_dataset, has_validation_set: chosen in fields of their own. is_cpu: it runs on a
    CPU slot; None while the devices are not known. processes: data-parallel ones. weights: what it works
    on or begins with besides the model: "", "adapter" (LoRA) or "whole". ref_model, teacher_model: the same
    of these. reward_models: how many. reward_names: what uploaded files register; reward_files: how many.
    """

    has_model: bool = False
    has_dataset: bool = False
    has_validation_set: bool = False
    is_cpu: bool | None = None
    processes: int = 1
    weights: str = ""
    ref_model: str = ""
    teacher_model: str = ""
    reward_models: int = 0
    reward_files: int = 0
    reward_names: tuple[str, ...] = ()


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """The given arguments of one command, and its facts."""

    command: Command
    given: dict[str, Value]
    facts: JobFacts | None
    models_version: str

    def value(self, name: str) -> object:
        """The given value, else SWIFT's default; None where the command has no such argument."""
        if name in self.given:
            return self.given[name]
        argument = self.command.argument(name)
        return argument.default if argument else None

    def number(self, name: str) -> float:
        value = self.value(name)
        return value if isinstance(value, int | float) else 0

    def texts(self, name: str) -> list[str]:
        """The items of a list; a single text counts as one."""
        value = self.value(name)
        if isinstance(value, list):
            return [str(item) for item in value]
        return [value] if isinstance(value, str) and value else []


Rule = Callable[[Case], Iterator[Problem]]
