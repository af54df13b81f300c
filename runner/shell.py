"""Argument tuples in, output out: the only place that starts a process."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chalicelib.errors import TauError


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
    folder: Path | None = None,
    stdin: bytes = b"",
) -> Output:
    """Run a command in a process group of its own, without a shell.

    Args:
        env: the whole environment; nothing of ours is inherited.

    Raises:
        TimedOut: after `timeout_s`.
    """
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
        stdout, stderr = process.communicate(stdin, timeout=max(timeout_s, 0.1))
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise TimedOut(f"{argv[0]} took longer than {timeout_s:.0f} s and was stopped") from error
    return Output(process.returncode, stdout, stderr)
