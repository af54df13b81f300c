"""A command in, a child process out that ends with us: by stop(), or by the kernel when we are killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chalicelib.errors import TauError

POLL_S = 0.02


class NotStarted(TauError):
    """A part of the local cloud cannot run here, or did not come up. The text says why and what to do."""


@dataclass
class Child:
    """A running child process; its output goes to `log`."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def tail(self, lines: int = 12) -> str:
        """The last lines that it wrote, for an error message."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def stop(self, grace_s: float = 15) -> None:
        """End it, politely first. Its children are its own to end, unless it has to be killed."""
        if self.running:
            self.process.terminate()
            try:
                self.process.wait(grace_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it and everything it started, at once: what a power cut does."""
        if self.running:
            # It leads its own session, so the group is its own and nobody else's.
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()


def start(
    name: str,
    argv: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    at_our_death: str = "TERM",
) -> Child:
    """Start a child that does not outlive us, even when we are killed with -9.

    Call it from a thread that lives as long as the child should: the kernel sends the signal when that thread ends.

    Args:
        env: the whole environment; None = ours.
        at_our_death: the signal that the kernel sends to the child then.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            (*_dying_with_us(at_our_death), *argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            # Control-C in a terminal reaches us alone; we then stop our children in the right order.
            start_new_session=True,
        )
    return Child(name, process, log)


def wait_until(ready: Callable[[], bool], child: Child, timeout_s: float) -> None:
    """Return as soon as `ready()` is true.

    Raises:
        NotStarted: the child ended before, or the time is over; it is stopped then.
    """
    deadline = time.monotonic() + timeout_s
    while not ready():
        if not child.running:
            raise NotStarted(f"{child.name} ended with exit code {child.process.returncode}. {_last_words(child)}")
        if time.monotonic() > deadline:
            child.stop()
            raise NotStarted(f"{child.name} did not answer within {timeout_s:.0f} s. {_last_words(child)}")
        time.sleep(POLL_S)


def free_port() -> int:
    """A port on loopback that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def find_tool(name: str) -> str | None:
    """The path of a program, also where only root's PATH has it."""
    return shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")


def need_tool(name: str, package: str) -> str:
    """The path of a program.

    Raises:
        NotStarted: it is not installed; the text names Debian's package.
    """
    path = find_tool(name)
    if path is None:
        raise NotStarted(f"{name} is not installed. Run `make setup`, or install it (Debian: {package}).")
    return path


def output(argv: Sequence[str], *, stdin: str | bytes = b"", env: Mapping[str, str] | None = None) -> str:
    """What a short command wrote.

    Raises:
        NotStarted: it failed; the text has what it complained about.
    """
    given = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(argv, input=given, capture_output=True, check=False, env=None if env is None else dict(env))
    if done.returncode != 0:
        complaint = done.stderr.decode(errors="replace").strip()
        raise NotStarted(f"`{Path(argv[0]).name} …` failed with exit code {done.returncode}: {complaint}")
    return done.stdout.decode(errors="replace")


def _dying_with_us(signal_name: str) -> tuple[str, ...]:
    # setpriv executes the command in its place, so the child's pid is the command's. Elsewhere than on Linux it is
    # missing, and only stop() ends the child.
    setpriv = find_tool("setpriv")
    return (setpriv, "--pdeathsig", signal_name, "--") if setpriv else ()


def _last_words(child: Child) -> str:
    tail = child.tail()
    return f"Its last lines:\n{tail}" if tail else "It wrote nothing."
