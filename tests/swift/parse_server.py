"""Parse argument lists with the parser that SWIFT builds. Run with the training environment's Python.

One JSON line in, `[command's class, argv]`; one JSON line out, what argparse made of it, or its error.
"""

import argparse
import contextlib
import enum
import importlib
import io
import json
import sys
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def answer(parser: argparse.ArgumentParser, argv: list[str]) -> dict[str, Any]:
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            namespace, remaining = parser.parse_known_args(argv)
    except SystemExit:
        return {"error": errors.getvalue()[-500:]}
    values = {
        name: [plain(item) for item in value] if isinstance(value, list) else plain(value)
        for name, value in vars(namespace).items()
    }
    return {"values": values, "remaining": remaining}


def main() -> None:
    with contextlib.redirect_stdout(sys.stderr):
        arguments = importlib.import_module("swift.arguments")
        patch = importlib.import_module("swift.utils.utils")._patch_get_type_hints
        parser_class = importlib.import_module("transformers").HfArgumentParser
    parsers: dict[str, argparse.ArgumentParser] = {}
    for line in sys.stdin:
        class_name, argv = json.loads(line)
        if class_name not in parsers:
            with patch():
                parsers[class_name] = parser_class([getattr(arguments, class_name)])
        sys.stdout.write(json.dumps(answer(parsers[class_name], argv)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
