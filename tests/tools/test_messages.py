"""tools/messages.py: what counts as an incomplete translation."""

import gettext
from pathlib import Path

import polib
import pytest

from tools import messages

PO = """msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\\n"
"Plural-Forms: nplurals=1; plural=0;\\n"

msgid "Hello"
msgstr "你好"
"""


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (polib.POEntry(msgid="Job", msgstr="作业"), None),
        (polib.POEntry(msgid="Job", msgstr=""), "no translation"),
        (polib.POEntry(msgid="Job", msgstr="作业", flags=["fuzzy"]), "fuzzy"),
        (polib.POEntry(msgid="%(n)s left", msgstr="剩余 %(n)s"), None),
        (polib.POEntry(msgid="%(n)s left", msgstr="剩余 %(m)s"), "placeholders"),
        (polib.POEntry(msgid="%(n)s left", msgstr="剩余"), "placeholders"),
        (
            polib.POEntry(msgid="{n} job", msgid_plural="{n} jobs", msgstr_plural={0: "{n} 个"}),
            None,
        ),
        (polib.POEntry(msgid="job", msgid_plural="jobs", msgstr_plural={0: ""}), "no translation"),
    ],
)
def test_entry_faults(entry: polib.POEntry, fault: str | None) -> None:
    found = messages.entry_faults(entry)
    assert (not found) if fault is None else (fault in found[0])


def test_compile_writes_what_gettext_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "LOCALE", tmp_path)
    folder = tmp_path / "zh_Hans" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "django.po").write_text(PO, encoding="utf-8")
    messages.compile_all()
    assert gettext.translation("django", tmp_path, ["zh_Hans"]).gettext("Hello") == "你好"
    assert sorted(path.name for path in folder.iterdir()) == ["django.mo", "django.po"]
