"""How the API's description speaks of each operation."""

from drf_spectacular.openapi import AutoSchema


class OperationSchema(AutoSchema):
    """Gives every operation one line: the first of its docstring, or of its view's where it has none."""

    def get_summary(self) -> str | None:
        return super().get_summary() or first_line(self.get_description() or "") or None


def first_line(text: str) -> str:
    """The first line of a docstring, without its full stop."""
    return text.strip().partition("\n")[0].strip().removesuffix(".")
