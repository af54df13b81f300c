"""The name of a script in the operators' directory in; its path out, if nobody but root can have written it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from chalicelib.errors import StepErrored

FOLDER = Path("/etc/tau/scripts")
"""Where a code server's operators put their scripts; TAU_SCRIPTS names another folder."""

ROOT = frozenset({0})
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


# The usual one of a login, and nothing that the runner was started with.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Operators:
    """Where this machine's scripts lie, and whose files are trusted."""

    folder: Path = FOLDER
    owners: AbstractSet[int] = ROOT

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Operators:
        return cls(Path(environ.get("TAU_SCRIPTS") or FOLDER))


def environment(home: Path) -> dict[str, str]:
    """What a script gets of an environment before anything that is about its run."""
    return {"PATH": _PATH, "HOME": str(home), "LANG": "C.UTF-8"}


def script(operators: Operators, name: str) -> Path:
    """The script's path.

    Raises:
        StepErrored: there is none, it cannot be executed, or somebody else may write it or what leads to it.
    """
    folder = operators.folder
    path = folder / name
    if path.parent != folder or name in {"", ".", ".."}:
        raise StepErrored(f"{name!r} is no name of a file in {folder}")
    try:
        found = path.lstat()
        # Whoever may write a folder may put another file in the place of ours.
        for part in (path, *folder.absolute().parents, folder):
            _check(part, operators.owners)
    except OSError as error:
        raise StepErrored(f"the operators' script {path} cannot be run here: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise StepErrored(f"the operators' script {path} is no plain file: put the script itself there, not a link")
    if not os.access(path, os.X_OK):
        raise StepErrored(f"the operators' script {path} cannot be executed: chmod 755 {path}")
    return path


def _check(path: Path, owners: AbstractSet[int]) -> None:
    found = path.lstat()
    # In a folder like /tmp everybody may write, and nobody may replace what is another's.
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if found.st_uid not in owners or (found.st_mode & _OTHERS_MAY_WRITE and not sticky):
        raise StepErrored(
            f"{path} could have been written by others than root, so no script behind it is run: "
            f"chown root:root {path}; chmod 755 {path}"
        )
