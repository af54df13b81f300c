"""The folder of mirrors in, those that lie there out; one of them gone: a fetch brings it again."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from runner.disk import Stored, oldest_first, used


def mirrors(folder: Path) -> list[Stored]:
    """The mirrors that lie in a folder, least recently used first."""
    return oldest_first(folder.glob("*.git"), _fetched_at_s)


def _fetched_at_s(path: Path) -> float:
    # Every fetch writes it anew; git makes it when it has fetched for the first time.
    fetched = path / "FETCH_HEAD"
    return (fetched if fetched.exists() else path).stat().st_mtime


def drop(mirror: Stored) -> int:
    """How many bytes went; none where somebody holds the mirror just now."""
    path = mirror.path
    try:
        with (path.parent / f"{path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = used(path).size_bytes
            # Moved aside first: who is killed here leaves no half of a mirror. A full disk has no room for a folder.
            aside = path.rename(path.with_name(f"new-{path.stem}-{os.getpid()}"))
            shutil.rmtree(aside, ignore_errors=True)
            return 0 if aside.exists() else size
    except OSError:
        return 0
