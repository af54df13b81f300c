"""The folder of mirrors in, those that lie there out; one of them gone: a fetch brings it again."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from runner.disk import used


@dataclass(frozen=True)
class Mirror:
    """One repository's mirror; every fetch writes into it anew."""

    path: Path
    used_at_s: float


def mirrors(folder: Path) -> list[Mirror]:
    """The mirrors that lie in a folder, least recently used first."""
    found = []
    for path in folder.glob("*.git"):
        # Another runner may have dropped it, and git writes this one when it has fetched for the first time.
        with contextlib.suppress(OSError):
            fetched = path / "FETCH_HEAD"
            found.append(Mirror(path, (fetched if fetched.exists() else path).stat().st_mtime))
    return sorted(found, key=lambda one: (one.used_at_s, one.path))


def drop(mirror: Mirror) -> int:
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
