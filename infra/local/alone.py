"""A name in, the right to be the only one of that name on this machine out; it ends with the process that holds it."""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from infra.local.processes import NotStarted

_POLL_S = 0.2


@contextmanager
def alone(name: str, patience_s: float = 0) -> Iterator[None]:
    """Nobody else is in here under this name.

    The name is held as a socket's in Linux's abstract namespace: no file that a killed process could leave behind.
    Elsewhere nothing is held.

    Args:
        patience_s: how long another may take to get out.

    Raises:
        NotStarted: another process is still there; says which.

    Source: https://man7.org/linux/man-pages/man7/unix.7.html
    """
    if sys.platform != "linux":
        yield
        return
    address = f"\0{name}"
    deadline = time.monotonic() + patience_s
    with socket.socket(socket.AF_UNIX) as holder:
        while not _taken(holder, address):
            other = _holder(address)
            if other == os.getpid():
                raise NotStarted(f"{name} runs in this very process already: give the second one a name of its own")
            if time.monotonic() > deadline:
                raise NotStarted(f"{name} runs on this machine already{_where(other)}. Stop it, or wait for its end.")
            time.sleep(_POLL_S)
        yield


def _taken(holder: socket.socket, address: str) -> bool:
    try:
        holder.bind(address)
    except OSError:
        return False
    holder.listen()
    return True


def _holder(address: str) -> int | None:
    """The process that holds the name; None = it has just let go."""
    with socket.socket(socket.AF_UNIX) as asking, suppress(OSError):
        asking.connect(address)
        said = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", said)[0])
    return None


def _where(pid: int | None) -> str:
    if not pid:
        return ""
    try:
        return f": process {pid}, in {Path(f'/proc/{pid}/cwd').readlink()}"
    except OSError:  # another user's, or gone
        return f": process {pid}"
