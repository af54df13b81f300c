"""A repository's key in, the environment in which git may use it out; nothing stays behind."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from chalicelib.errors import StepErrored
from chalicelib.model import Source

# Memory, not a disk. https://www.kernel.org/doc/html/latest/filesystems/tmpfs.html
_MEMORY = Path("/dev/shm")  # noqa: S108 - chosen because it is memory; each use makes a private folder in it
_PREFIX = "tau-key-"
# Longer than any fetch: what is older belongs to a runner that was killed before it could clean up.
_LEFT_S = 3600
_BUILDS = "tau-build-"
# Longer than any claim.
_LEFT_BUILDS_S = 13 * 3600
# A host that does not answer, or no longer does, is given up after so long.
_TIMES = "-o ConnectTimeout=15 -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
KNOWN_HOSTS = "/etc/tau/known_hosts"
"""The keys by which hosts are known, and nothing else."""
# git asks "Username for …" and "Password for …"; the answers come from its environment, never from argv.
_ASKPASS = '#!/bin/sh\ncase "$1" in Username*) printf %s "$TAU_GIT_USER";; *) printf %s "$TAU_GIT_TOKEN";; esac\n'


@contextlib.contextmanager
def opened(source: Source, secret: Callable[[str], str]) -> Iterator[Mapping[str, str]]:
    """What git's environment needs for this repository.

    A secret that begins with `-----BEGIN` is an SSH key; any other is `user:token` for https.

    Raises:
        StepErrored: the secret is neither.
    """
    if source.key is None:
        yield {}
        return
    value = secret(source.key)
    with tempfile.TemporaryDirectory(dir=_memory(), prefix=_PREFIX) as folder:
        if value.startswith("-----BEGIN"):
            yield _ssh(Path(folder), value)
        elif ":" in value:
            yield _token(Path(folder), value)
        else:
            raise StepErrored(f"the secret {source.key} is neither an SSH key nor user:token")


@contextlib.contextmanager
def build_folder() -> Iterator[Path]:
    """A folder in memory that nobody else may read, for what a build needs; gone afterwards."""
    with tempfile.TemporaryDirectory(dir=_memory(), prefix=_BUILDS) as folder:
        yield Path(folder)


def sweep() -> None:
    """Remove the keys and other secrets that killed runners left in memory."""
    remove_old(_memory().glob(f"{_PREFIX}*"), _LEFT_S)
    remove_old(_memory().glob(f"{_BUILDS}*"), _LEFT_BUILDS_S)


def remove_old(folders: Iterable[Path], age_s: float) -> None:
    """Remove the folders that nobody has changed for so long; one that will not go is left."""
    before = time.time() - age_s
    for folder in folders:
        # Another runner of this machine may be sweeping too.
        with contextlib.suppress(OSError):
            if folder.lstat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)


def _memory() -> Path:
    return _MEMORY if _MEMORY.is_dir() else Path(tempfile.gettempdir())


def _ssh(folder: Path, value: str) -> Mapping[str, str]:
    key = folder / "key"
    key.touch(mode=0o600)
    key.write_text(value if value.endswith("\n") else f"{value}\n")
    options = f"-F /dev/null -o IdentitiesOnly=yes -o BatchMode=yes -o UserKnownHostsFile={KNOWN_HOSTS}"
    return {"GIT_SSH_COMMAND": f"ssh -i {key} {options} -o StrictHostKeyChecking=yes {_TIMES}"}


def _token(folder: Path, value: str) -> Mapping[str, str]:
    askpass = folder / "askpass"
    askpass.touch(mode=0o700)
    askpass.write_text(_ASKPASS)
    user, token = value.split(":", 1)
    return {"GIT_ASKPASS": str(askpass), "TAU_GIT_USER": user, "TAU_GIT_TOKEN": token}
