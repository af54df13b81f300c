"""Trees that a build finds checked out, and what the engine has left of their commands."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from runner.actions import build

APP = "github.com/2pisoftware/cmfive"


def tree(**files):
    """Fill a folder; `__` stands for `/`, and a Path is linked to."""

    def fill(folder):
        for name, content in files.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif isinstance(content, str):
                path.write_text(content)
            else:
                path.symlink_to(content)

    return fill


def settings(image, **changes):
    return build.Settings.model_validate({"image": image, **changes})


def dockerfile(lab, *lines):
    return "\n".join((f"FROM {lab.base}", *lines)) + "\n"


def nothing_runs(command):
    """No process of a command is left, at once or in a moment."""
    for _ in range(50):
        if not list(_processes(command)):
            return True
        time.sleep(0.1)
    return False


def end_processes(command):
    """End what is left of a command that a test has had built."""
    for process in _processes(command):
        os.kill(process, signal.SIGKILL)


def _processes(command):
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended meanwhile
        if command in line:
            yield int(path.parent.name)
