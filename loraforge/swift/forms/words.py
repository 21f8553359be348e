"""A pasted command line, taken apart: variables in front, the command, flags with their words.

Nothing is run and nothing is looked up: shell variables, substitutions and redirections stay words, and
whoever judges them says so.
"""

import re
import shlex

import msgspec

OPERATORS = frozenset("();<>|&")
_CONTINUED = re.compile(r"[\\^`][ \t]*\r?\n")  # sh, cmd and PowerShell
_COMMENT = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_ASSIGNED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_FLAG = re.compile(r"--?[A-Za-z_][\w.-]*(=.*)?", re.DOTALL)
_FILE = re.compile(r"swift[/.]cli[/.]([a-z_]+?)(?:\.py)?$")
_SKIPPED = frozenset({"nohup", "env", "time", "exec", "export", "sudo", "$"})
PROCESSES = frozenset({"--nproc_per_node", "--nproc-per-node"})
# Dashes that editors and chat programs make of two hyphens.
_DASHES = dict.fromkeys(map(ord, "\u2013\u2014\u2012\u2015\u2212"), "--")
_QUOTES = {0x201C: '"', 0x201D: '"', 0x2018: "'", 0x2019: "'", 0x00A0: " "}


class CommandLine(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in a command line.

    program: "swift", "megatron", or "" where the text has no command of either. command: the word after
    it. flags: (name without dashes, its words), in order. loose: words that belong to no flag. rest: whether
    more commands follow.
    """

    program: str = ""
    command: str = ""
    environment: dict[str, str] = {}
    flags: tuple[tuple[str, tuple[str, ...]], ...] = ()
    loose: tuple[str, ...] = ()
    rest: bool = False


def command_line_read(text: str) -> CommandLine:
    """Take a text apart as a POSIX shell would. Raises ValueError for quotes that are not closed."""
    joined = _COMMENT.sub("", _CONTINUED.sub(" ", text))
    tokens = _tokens(joined)
    first, rest = _first_command(tokens)
    environment, program, command, words = _head(first)
    flags, loose = _flags(words)
    return CommandLine(
        program=program,
        command=command.replace("-", "_") if command != "merge-lora" else command,
        environment=environment,
        flags=tuple(flags),
        loose=tuple(loose),
        rest=rest,
    )


def _tokens(text: str) -> list[str]:
    lexer = shlex.shlex(_plain(text), posix=True, punctuation_chars="".join(sorted(OPERATORS)))
    lexer.commenters = ""
    lexer.whitespace_split = True
    return list(lexer)


def _plain(text: str) -> str:
    """Typographic dashes in front of a word, and typographic quotes, as a keyboard has them."""
    dashed = re.sub(
        r"(?<!\S)[\u2012-\u2015\u2212]+(?=[A-Za-z])",
        lambda found: found.group().translate(_DASHES)[:2],
        text,
    )
    return dashed.translate(_QUOTES)


def _first_command(tokens: list[str]) -> tuple[list[str], bool]:
    """The words up to the first operator behind SWIFT's name, and whether something follows."""
    start = 0
    for at, token in enumerate(tokens):
        if not token or not set(token) <= OPERATORS:
            continue
        before = tokens[start:at]
        if any(_named(word) for word in before):
            following = [one for one in tokens[at + 1 :] if not set(one) <= OPERATORS]
            return _without_number(before, token), any(_named(one) for one in following)
        start = at + 1
    return tokens[start:], False


def _without_number(words: list[str], operator: str) -> list[str]:
    """`2>&1` leaves a 2 before its operator."""
    return words[:-1] if words and ">" in operator and words[-1] in ("1", "2") else words


def _named(word: str) -> bool:
    return word in ("swift", "megatron") or _FILE.search(word) is not None


def _head(words: list[str]) -> tuple[dict[str, str], str, str, list[str]]:
    """Variables, program, command, and the words behind them."""
    environment: dict[str, str] = {}
    for at, word in enumerate(words):
        assigned = _ASSIGNED.fullmatch(word)
        if assigned:
            environment[assigned.group(1)] = assigned.group(2)
        elif word in PROCESSES and at + 1 < len(words):
            environment["NPROC_PER_NODE"] = words[at + 1]
        elif word.split("=", 1)[0] in PROCESSES and "=" in word:
            environment["NPROC_PER_NODE"] = word.split("=", 1)[1]
        elif word in ("swift", "megatron"):
            command = words[at + 1] if at + 1 < len(words) else ""
            return environment, word, command, words[at + 2 :]
        elif found := _FILE.search(word):
            program = "megatron" if "megatron" in word else "swift"
            return environment, program, found.group(1), words[at + 1 :]
        elif word.startswith("--") and not environment and at == 0:
            return environment, "", "", words
    begins = next((at for at, word in enumerate(words) if _FLAG.fullmatch(word)), len(words))
    return environment, "", "", [one for one in words[begins:] if one not in _SKIPPED]


def _flags(words: list[str]) -> tuple[list[tuple[str, tuple[str, ...]]], list[str]]:
    found: list[tuple[str, list[str]]] = []
    loose: list[str] = []
    for word in words:
        if word.startswith("--") and _FLAG.fullmatch(word):
            name, equals, value = word.removeprefix("--").partition("=")
            found.append((name, [value] if equals else []))
        elif found:
            found[-1][1].append(word)
        else:
            loose.append(word)
    return [(name, tuple(values)) for name, values in found], loose
