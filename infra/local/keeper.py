"""A folder and an engine's command in; runs it while the parent lives, then takes away all that it left.

It is a process of its own because the one that asked for the engine may be killed with -9: the kernel then tells the
keeper (see processes.start), and nothing stays behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from infra.local import bridge, firewall, processes

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
GRACE_S = 25
"""How long the engine may take to stop its containers and itself."""


def keep(folder: Path, argv: Sequence[str], *, apart: bool) -> int:
    """Run dockerd until it ends or we are told to; returns its exit code.

    Args:
        apart: in a network of its own, where docker0 is nobody else's.
    """
    parent = os.getppid()
    rules, bridges, forwarding = firewall.read(), _bridges(), FORWARDING.read_text()
    own = None if apart else bridge.make()
    argv = ("unshare", "--net", "--", *argv) if apart else (*argv, *([f"--bridge={own}"] if own else ()))
    daemon = processes.start("engine", argv, folder / "engine.log")
    told = False

    def tell(_signal: int, _frame: FrameType | None) -> None:
        nonlocal told
        told = True
        signal.alarm(GRACE_S)
        daemon.process.terminate()

    signal.signal(signal.SIGTERM, tell)
    signal.signal(signal.SIGALRM, lambda _signal, _frame: daemon.process.kill())
    code = daemon.process.wait()
    if own:
        _quietly("ip", "link", "delete", own)
    if not _other_engine():
        _restore(rules, bridges)
        FORWARDING.write_text(forwarding)
    _unmount(folder)
    # The parent reads the log of an engine that ended by itself, and removes the folder afterwards.
    if told or os.getppid() != parent:
        shutil.rmtree(folder, ignore_errors=True)
    return code


def _bridges() -> set[str]:
    """The networks that Docker made, by its names for them."""
    return {name for _, name in socket.if_nameindex() if name == "docker0" or name.startswith(("br-", "tau-"))}


def _other_engine() -> bool:
    """Whether another dockerd runs: bridges and rules may be its own then."""
    return any(_command(path) == "dockerd" for path in Path("/proc").glob("[0-9]*/comm"))


def _command(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # the process ended while we looked
        return ""


def _restore(rules: str, bridges: set[str]) -> None:
    for name in _bridges() - bridges:
        _quietly("ip", "link", "delete", name)
    for argv in firewall.undo(rules, firewall.read()):
        _quietly(*argv)


def _unmount(folder: Path) -> None:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
        _quietly("umount", "--lazy", mount)


def _quietly(*argv: str) -> None:
    """Run a command of the cleaning up; one that fails must not keep the next from being run."""
    try:
        subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    except OSError as error:
        print(f"keeper: {argv[0]}: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[2]), sys.argv[3:], apart=sys.argv[1] == "apart"))
