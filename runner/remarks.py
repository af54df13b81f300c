"""A tree in, what of its repository is not in it out: what a committer would look for in vain."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from chalicelib.reports.words import clean

_MOST_NAMED = 5
_MOST_BYTES = 256 * 1024


def remarks(tree: Path, repository: str, *, submodules: bool = False) -> Iterator[str]:
    """A line for each thing that a checkout leaves out.

    Args:
        submodules: they were fetched, and said.

    Source: https://git-scm.com/docs/gitmodules and https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
    """
    empty = () if submodules else tuple(islice(_empty(tree), _MOST_NAMED + 1))
    if empty:
        named = ", ".join(map(clean, empty[:_MOST_NAMED])) + (" …" if len(empty) > _MOST_NAMED else "")
        what, hint = (
            ("submodules", "`submodules` allows them")
            if _text(tree / ".gitmodules")
            else ("other repositories in it", "no .gitmodules says where they are from")
        )
        yield f"{repository} has {what}, which are not fetched: {named} ({hint})"
    if b"filter=lfs" in _text(tree / ".gitattributes"):
        yield f"{repository} has files in Git LFS, which are not fetched: a pointer lies in the place of each"


def _empty(tree: Path) -> Iterator[str]:
    """Folders of a tree with nothing in them. git keeps none but those of other repositories."""
    for folder, folders, files in os.walk(tree):
        folders.sort()
        if not folders and not files and Path(folder) != tree:
            yield os.path.relpath(folder, tree)


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
