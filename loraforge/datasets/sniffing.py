"""What a file is, from its name and its first bytes. Pure."""

from enum import StrEnum

SNIFF_BYTES = 64 * 1024
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"
_NULS_OF_UTF16 = 0.2


class FileFormat(StrEnum):
    """How rows stand in a file."""

    JSONL = "jsonl"
    JSON = "json"  # one list of objects
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"


SUFFIXES = {
    ".jsonl": FileFormat.JSONL,
    ".ndjson": FileFormat.JSONL,
    ".json": FileFormat.JSON,
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.TSV,
    ".parquet": FileFormat.PARQUET,
}


def format_sniff(suffix: str, head: bytes) -> FileFormat:
    """The bytes decide where they can; only CSV is known by its name alone."""
    if head.startswith(b"PAR1"):
        return FileFormat.PARQUET
    named = SUFFIXES.get(suffix.lower(), FileFormat.JSONL)
    if named in {FileFormat.CSV, FileFormat.TSV}:
        return named
    if head.removeprefix(_BOM).lstrip(b" \t\r\n").startswith(b"["):
        return FileFormat.JSON
    return FileFormat.PARQUET if named == FileFormat.PARQUET else FileFormat.JSONL


def refusal_of(head: bytes) -> str:
    """The id of what makes text of no kind of this; empty when it may be text."""
    if head.startswith(_UTF16):
        return "rows:utf16"
    if b"\0" not in head:
        return ""
    nuls = head.count(b"\0") / len(head)
    return "rows:utf16" if _NULS_OF_UTF16 < nuls < 1 - _NULS_OF_UTF16 else "rows:binary"
