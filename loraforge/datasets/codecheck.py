"""`python -m loraforge.datasets.codecheck FILE`: hash an uploaded Python file and read which rewards it registers.

Read, never run or imported: only a job does that, inside its container. In a process of its own under a memory
limit, as rows are (`rowcheck`), for the parser is the interpreter's own. Imports nothing of Django; writes one
`Progress` to stdout.
"""

import ast
import hashlib
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from loraforge.datasets.rowcheck import MEMORY_BYTES, NICENESS, Progress
from loraforge.datasets.rows import RowError, RowReport

SUFFIX = ".py"
FILE_FORMAT = "python"
MAX_BYTES = 1024**2
NAMES_MAX = 100
CPU_S = 60
NAME_LENGTH = 100
NOTE_NOTHING = "rows:code_nothing"
# SWIFT's registries of what scores an answer: swift.rewards
_REGISTRIES = frozenset({"orms", "prms"})


def names_of(tree: ast.Module) -> list[str]:
    """What is put into a registry by name: ``orms["name"] = ...``, ``orms.update({"name": ...}, name=...)``."""
    found = [name for node in ast.walk(tree) for name in _registered(node)]
    return [name for name in dict.fromkeys(found) if 0 < len(name) <= NAME_LENGTH][:NAMES_MAX]


def _registered(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Subscript) and _is_registry(target.value):
                yield from _texts([target.slice])
    elif isinstance(node, ast.Call) and _is_update(node.func):
        for given in node.args:
            yield from _texts(given.keys if isinstance(given, ast.Dict) else [])
        yield from (word.arg for word in node.keywords if word.arg)


def _is_update(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "update" and _is_registry(node.value)


def _is_registry(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name in _REGISTRIES


def _texts(nodes: list[ast.expr | None] | list[ast.expr]) -> Iterator[str]:
    for node in nodes:
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.isprintable()
        ):
            yield node.value


def code_check(source: bytes) -> RowReport:
    """The verdict on a file's bytes."""
    report = RowReport(row_format=FILE_FORMAT)
    if len(source) > MAX_BYTES:
        return _refused(
            report, RowError(line=0, id="rows:code_too_large", params={"limit_bytes": MAX_BYTES})
        )
    try:
        # a text, so that no codec of the file's choice is run on it: some take minutes for a megabyte
        tree = ast.parse(source.decode("utf-8-sig"))
    except SyntaxError as fault:
        params = {"detail": (fault.msg or "")[:120]}
        return _refused(
            report, RowError(line=fault.lineno or 0, id="rows:code_syntax", params=params)
        )
    except (ValueError, RecursionError, MemoryError) as fault:
        params = {"detail": str(fault)[:120]}
        return _refused(report, RowError(line=0, id="rows:code_syntax", params=params))
    report.rewards = names_of(tree)
    if not report.rewards:
        report.notes = [NOTE_NOTHING]
    return report


def _refused(report: RowReport, error: RowError) -> RowReport:
    report.error_count, report.errors = 1, [error]
    return report


def check(path: Path, out: BinaryIO) -> None:
    """Read the file and write the verdict; of one that is too large no more than that is kept in memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        source = file.read(MAX_BYTES + 1)
        digest.update(source)
        while data := file.read(MAX_BYTES):
            digest.update(data)
    progress = Progress(
        done=path.stat().st_size,
        sha256=digest.hexdigest(),
        report=code_check(source),
        file_format=FILE_FORMAT,
    )
    out.write(msgspec.json.encode(progress) + b"\n")
    out.flush()


def main() -> None:
    """Lower the own priority, memory and time, then check the file named on the command line."""
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    check(Path(sys.argv[1]), sys.stdout.buffer)


if __name__ == "__main__":
    main()
