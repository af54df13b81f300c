"""What git is asked of somebody's working copy, as argument tuples and an environment: pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_WHO = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "tau run"), ("EMAIL", "tau@localhost"))
}


def in_copy(folder: Path, *arguments: str) -> tuple[str, ...]:
    # A watcher that git would start for its own use would stay behind.
    return ("git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments)


def in_bare(bare: Path, *arguments: str) -> tuple[str, ...]:
    return ("git", f"--git-dir={bare}", *arguments)


def place_of(folder: Path, name: str) -> tuple[str, ...]:
    """Where a part of git's own folder lies, also in a linked work tree."""
    return in_copy(folder, "rev-parse", "--path-format=absolute", "--git-path", name)


def entries(bare: Path, commit: str) -> tuple[str, ...]:
    """All that a commit holds, each as `<mode> <type> <sha>`, a tab and its path, ended by a NUL."""
    return in_bare(bare, "ls-tree", "-r", "-z", "--full-tree", commit)


def uncommitted(folder: Path) -> tuple[str, ...]:
    """What in a working copy is not committed; it refreshes no index of somebody else's."""
    argv = in_copy(folder, "status", "--porcelain", "--ignore-submodules=none")
    return ("git", "--no-optional-locks", *argv[1:])


def aside(ours: Mapping[str, str], index: Path, bare: Path) -> dict[str, str]:
    """The environment in which git takes another index, and writes objects elsewhere."""
    return {**ours, "GIT_INDEX_FILE": str(index), "GIT_OBJECT_DIRECTORY": str(bare / "objects")}


def dated(ours: Mapping[str, str], seconds: str) -> dict[str, str]:
    """The environment of a commit that is the same whenever, and by whomever, it is made."""
    at = f"@{seconds} +0000"
    return {**ours, **_WHO, "GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at}


def quiet(ours: Mapping[str, str]) -> dict[str, str]:
    """A person's own environment, in which git asks nothing and speaks English."""
    # git exports its own place to hooks and aliases, from where somebody may call us.
    own = {name: value for name, value in ours.items() if not name.startswith("GIT_") or name in _KEPT}
    return {**own, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}


_KEPT = frozenset(
    {"GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_SSL_CAINFO", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM"}
)
