"""A file in, a lock that many builds share and one cleaner has alone out: every runner of the folder heeds it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from runner.pace import Pace
from runner.stopping import Stopping

_POLL_S = 0.1


class BuildLock:
    """Builds find their layers in the engine one after the other; meanwhile none of them is to be taken away."""

    def __init__(self, path: Path, pace: Pace) -> None:
        self._path = path
        self._pace = pace

    @contextlib.contextmanager
    def building(self, stopping: Stopping) -> Iterator[None]:
        """As long as a build goes on: with others, and not while anything is removed, which takes moments.

        Raises:
            Stopped: somebody asks for it.
        """
        with self._opened() as file:
            while not _got(file, fcntl.LOCK_SH):
                stopping.check()
                self._pace.sleep(_POLL_S)
            yield

    @contextlib.contextmanager
    def alone(self, until: float) -> Iterator[bool]:
        """Whether no build goes on, after waiting for that until then (monotonic); if so, none begins inside."""
        with self._opened() as file:
            got = _got(file, fcntl.LOCK_EX)
            while not got and self._pace.monotonic() < until:
                self._pace.sleep(_POLL_S)
                got = _got(file, fcntl.LOCK_EX)
            yield got

    def _opened(self) -> IO[bytes]:
        # For reading: whoever made it, `tau gc` as root for one, the others can lock it too.
        return os.fdopen(os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644), "rb")


def _got(file: IO[bytes], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
