"""Parse argument lists with the parser that SWIFT builds. Run with the training environment's Python.

One JSON line in, `[command's class, argv]`; one JSON line out, what argparse made of it, or its error.
"""

import contextlib
import enum
import io
import json
import sys
from pathlib import Path

with contextlib.redirect_stdout(sys.stderr):
    from transformers import HfArgumentParser

    import swift.arguments
    from swift.utils.utils import _patch_get_type_hints


def plain(value):
    if isinstance(value, enum.Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def answer(parser, argv):
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


def main():
    parsers = {}
    for line in sys.stdin:
        class_name, argv = json.loads(line)
        if class_name not in parsers:
            with _patch_get_type_hints():
                parsers[class_name] = HfArgumentParser([getattr(swift.arguments, class_name)])
        sys.stdout.write(json.dumps(answer(parsers[class_name], argv)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
