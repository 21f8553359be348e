"""The screen texts' translations: compile them, and see that none is missing.

    .venv/bin/python tools/messages.py compile    locale/*/LC_MESSAGES/*.po -> .mo
    .venv/bin/python tools/messages.py check      every text is translated, none is fuzzy, none is
                                                  missing in the file, placeholders are kept

Compiling needs no gettext programs. Finding texts that the file lacks needs xgettext and msgmerge;
where they are missing, check says that it left this part out.
"""

import contextlib
import re
import shutil
import sys
import tempfile
from pathlib import Path

import django
import polib
from django.conf import settings
from django.core.management import call_command

ROOT = Path(__file__).resolve().parent.parent
LOCALE = ROOT / "locale"
SOURCES = ("loraforge", "templates")
# %(name)s, %s, %d and {name}
PLACEHOLDER = re.compile(r"%\(\w+\)[sdf]|%[sdf]|\{\w*\}")
GETTEXT_PROGRAMS = ("xgettext", "msgmerge", "msgattrib", "msguniq")


def catalogues() -> list[Path]:
    return sorted(LOCALE.glob("*/LC_MESSAGES/*.po"))


def compile_all() -> None:
    """Write each .mo beside its .po, in one step."""
    for path in catalogues():
        fresh = path.with_suffix(".mo.new")
        polib.pofile(str(path)).save_as_mofile(str(fresh))
        fresh.replace(path.with_suffix(".mo"))


def entry_faults(entry: polib.POEntry) -> list[str]:
    """What is wrong with one translation, in words."""
    forms = [entry.msgstr, *entry.msgstr_plural.values()]
    if entry.fuzzy:
        return ["is fuzzy: read it and remove the mark"]
    if not entry.translated():
        return ["has no translation"]
    wanted = set(PLACEHOLDER.findall(entry.msgid))
    if entry.msgid_plural:
        wanted |= set(PLACEHOLDER.findall(entry.msgid_plural))
        return ["has a plural form that lacks text"] if not all(forms[1:]) else []
    found = set(PLACEHOLDER.findall(entry.msgstr))
    return [f"has other placeholders: {sorted(wanted ^ found)}"] if wanted != found else []


def missing_texts(path: Path) -> list[str]:
    """Texts in the sources that the file does not hold, found by makemessages on a copy."""
    language = path.parent.parent.name
    with tempfile.TemporaryDirectory(prefix="loraforge-messages-") as folder:
        copy = Path(folder)
        for source in SOURCES:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, copy / source)
        target = copy / "locale" / language / "LC_MESSAGES" / path.name
        target.parent.mkdir(parents=True)
        shutil.copy(path, target)
        with contextlib.chdir(copy):
            call_command("makemessages", locale=[language], verbosity=0, no_obsolete=True)
        known = {(entry.msgctxt, entry.msgid) for entry in polib.pofile(str(path))}
        found = [entry for entry in polib.pofile(str(target)) if not entry.obsolete]
        return [entry.msgid for entry in found if (entry.msgctxt, entry.msgid) not in known]


def check_all() -> int:
    """Print every fault; the number of them."""
    faults: list[str] = []
    complete = all(shutil.which(program) for program in GETTEXT_PROGRAMS)
    for path in catalogues():
        name = path.relative_to(ROOT)
        for entry in polib.pofile(str(path)):
            if not entry.obsolete:
                faults += [f"{name}: {entry.msgid!r} {fault}" for fault in entry_faults(entry)]
        if complete:
            faults += [f"{name}: {text!r} is not in the file" for text in missing_texts(path)]
    if not complete:
        print("gettext is not installed: texts that the files lack were not looked for")
    print("\n".join(faults) or f"{len(catalogues())} translation files are complete")
    return len(faults)


def main(arguments: list[str]) -> int:
    if arguments == ["compile"]:
        compile_all()
        return 0
    if arguments == ["check"]:
        settings.configure()
        django.setup()
        return 1 if check_all() else 0
    print("usage: messages.py compile|check", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
