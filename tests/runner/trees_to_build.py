"""Trees that a build finds checked out, and what the engine has left of their commands."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from runner.actions import build
from runner.stopping import Why

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


@contextmanager
def stopping_once_it_runs(command, stopping):
    """Somebody asks a moment after a command has begun."""

    def ask():
        for _ in range(300):
            if list(_processes(command)):
                break
            time.sleep(0.1)
        time.sleep(0.5)
        stopping.ask(Why.ASKED)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        asking.join()


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
