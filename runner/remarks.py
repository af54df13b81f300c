"""A tree in, what of its repository is not in it out: what a committer would look for in vain."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_MOST_BYTES = 256 * 1024


def remarks(tree: Path, repository: str, *, submodules: bool = False) -> Iterator[str]:
    """A line for each thing that a checkout leaves out.

    Args:
        submodules: they were fetched.

    Source: https://git-scm.com/docs/gitmodules and https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
    """
    if not submodules and _text(tree / ".gitmodules"):
        yield f"{repository} has submodules, which are not fetched: their folders are empty (`submodules` allows them)"
    if b"filter=lfs" in _text(tree / ".gitattributes"):
        yield f"{repository} has files in Git LFS, which are not fetched: a pointer lies in the place of each"


def _text(path: Path) -> bytes:
    """A file's beginning; nothing of one that is none, or that leads elsewhere."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.read(file, _MOST_BYTES) if stat.S_ISREG(os.fstat(file).st_mode) else b""
    finally:
        os.close(file)
