"""A configuration file, as YAML or JSON, as plain values. Never more than the text can hold."""

import math
from collections.abc import Hashable
from typing import Any

import msgspec
import yaml

from loraforge.swift.forms.environment import LONGEST_BITS

# What PyYAML's constructors raise for a tag that does not fit its text is of many kinds.
_BROKEN = (
    *(yaml.YAMLError, msgspec.DecodeError, ValueError, RecursionError),
    *(LookupError, AttributeError, ArithmeticError, TypeError),
)


class UnreadableError(ValueError):
    """The text is no configuration."""


class _Loader(yaml.SafeLoader):
    """YAML without references (which make much of little) and without a name that stands twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise UnreadableError
        return super().compose_node(parent, index)

    def construct_mapping(
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002 - as in PyYAML
    ) -> dict[Hashable, Any]:
        found = super().construct_mapping(node, deep=deep)
        if len(found) != len(node.value):
            raise UnreadableError
        return found


def file_read(text: str) -> dict[str, object]:
    """The mapping at the top of a YAML or JSON text. Raises UnreadableError for anything else."""
    try:
        if text.lstrip().startswith("{"):
            found = msgspec.json.decode(text)
        else:
            found = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise UnreadableError
        return {str(name): _plain(value) for name, value in found.items()}
    except _BROKEN as error:
        raise UnreadableError from error


def _plain(value: object) -> object:
    """As JSON has it: dates and what is no number become text, for whoever judges the value."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and value.bit_length() > LONGEST_BITS:
        raise UnreadableError
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
