"""Whose files a job finds: its folder becomes its user's, a model must be readable by that user."""

import os
import stat
from pathlib import Path

MAX_DEPTH = 3  # of a model's folder; deeper ones are data caches, not weights


def folder_give(folder: Path, *, uid: int, gid: int) -> None:
    """Make the job's user the owner of all in its folder. The job has not run yet, so nothing is planted.

    An agent that is not root runs jobs as itself, and nothing has to change.
    """
    if os.geteuid() != 0:
        return
    for root, folders, files in os.walk(folder):
        for name in (".", *folders, *files):
            os.chown(f"{root}/{name}", uid, gid, follow_symlinks=False)


def unreadable_find(path: Path, *, uid: int, gid: int) -> Path | None:
    """The first file or folder there that this user may not read; None when all is well.

    SWIFT itself says only "No such file or directory" for one.
    """
    if not _may(path, uid, gid):
        return path
    for root, folders, files in os.walk(path):
        if len(Path(root).relative_to(path).parts) >= MAX_DEPTH:
            folders.clear()
        for name in (*folders, *files):
            found = Path(root) / name
            if found.exists() and not _may(found, uid, gid):
                return found
    return None


def _may(path: Path, uid: int, gid: int) -> bool:
    known = path.stat()
    wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(known.st_mode) else 0)
    if known.st_uid == uid:
        wanted <<= 6
    elif known.st_gid == gid:
        wanted <<= 3
    return known.st_mode & wanted == wanted
