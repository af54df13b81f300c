"""Argument tuples in, output out: the only place that starts a process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from chalicelib.errors import TauError
from runner.stopping import Stopping

_GRACE_S = 1
_LAST_WORDS_S = 2
_CHUNK_BYTES = 64 * 1024


class TimedOut(TauError):
    """A command took longer than it was given; it and all that it started were killed."""


@dataclass(frozen=True)
class Output:
    """What a command left: its exit code (negative = killed by that signal) and what it wrote."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def complaint(self) -> str:
        """The last lines of standard error, as text."""
        return self.stderr.decode(errors="replace").strip()[-2000:]


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    timeout_s: float,
    stopping: Stopping,
    folder: Path | None = None,
    stdin: bytes = b"",
) -> Output:
    """Run a command in a process group of its own, without a shell.

    Args:
        env: the whole environment; nothing of ours is inherited.

    Raises:
        TimedOut: after `timeout_s`.
        Stopped: somebody asks for it; the command and all that it started were ended.
    """
    stopping.check()
    process = subprocess.Popen(
        list(argv),
        env=dict(env),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        with stopping.telling(lambda: _end(process)):
            stdout, stderr = process.communicate(stdin, timeout=max(timeout_s, 0.1))
    except subprocess.TimeoutExpired as error:
        _signal(process, signal.SIGKILL)
        process.communicate()
        stopping.check()
        raise TimedOut(f"{argv[0]} took longer than {timeout_s:.0f} s and was stopped") from error
    if stopping.why is not None:
        # What the command has left behind of its group, if anything.
        _signal(process, signal.SIGKILL)
    stopping.check()
    return Output(process.returncode, stdout, stderr)


def follow(
    argv: Sequence[str],
    write: Callable[[bytes], object],
    *,
    env: Mapping[str, str],
    folder: Path,
    timeout_s: float,
    stopping: Stopping,
    grace_s: float = _GRACE_S,
) -> int:
    """Run a command in a process group of its own, its output passed on as it comes; its exit code.

    When it ends, whatever it has left behind of its group is killed.

    Args:
        env: the whole environment; nothing of ours is inherited.
        grace_s: how long it may go on after SIGTERM when somebody has asked for its end.

    Raises:
        OSError: it cannot be started.
        TimedOut: after `timeout_s`.
        Stopped: somebody asks for it.
    """
    stopping.check()
    process = subprocess.Popen(
        list(argv),
        env=dict(env),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    # Beside: what has left the group may hold the output open for as long as it likes.
    reader = threading.Thread(target=_pass_on, args=(process.stdout, write), name="output", daemon=True)
    reader.start()
    try:
        with stopping.telling(lambda: _end(process, grace_s)):
            process.wait(max(timeout_s, 0.1))
    except subprocess.TimeoutExpired as error:
        stopping.check()
        raise TimedOut(f"{argv[0]} took longer than {timeout_s:.0f} s and was stopped") from error
    finally:
        _signal(process, signal.SIGKILL)
        process.wait()
        reader.join(_LAST_WORDS_S)
    stopping.check()
    return process.returncode


def _pass_on(output: IO[bytes], write: Callable[[bytes], object]) -> None:
    with output:
        while chunk := os.read(output.fileno(), _CHUNK_BYTES):
            write(chunk)


def _end(process: subprocess.Popen[bytes], grace_s: float = _GRACE_S) -> None:
    """Ask it to end, and kill it soon: git takes its locks and temporary files away when it is asked."""
    _signal_living(process, signal.SIGTERM)
    killer = threading.Timer(grace_s, _signal_living, (process, signal.SIGKILL))
    killer.daemon = True
    killer.start()


def _signal_living(process: subprocess.Popen[bytes], number: int) -> None:
    if process.returncode is None:
        _signal(process, number)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    # A group keeps its leader's number for as long as one of it lives.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
