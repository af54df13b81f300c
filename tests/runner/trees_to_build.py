"""Trees that a build finds checked out, and what the engine has left of their commands."""

from __future__ import annotations

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
        if not any(command in line for line in _command_lines()):
            return True
        time.sleep(0.1)
    return False


def _command_lines():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended meanwhile
