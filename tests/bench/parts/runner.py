"""A runner in a process of its own, as on a code server, with each of its calls to AWS and each line of its log."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from infra.local import processes
from infra.local.engine import ensure_engine
from infra.local.installation import Installation
from parts import ROOT

_HERE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Call:
    """One call of AWS: what, by which thread, when (seconds since 1970), for how long; the messages that it brought."""

    what: str
    thread: str
    began: float
    took_s: float
    messages: tuple[str, ...]

    @property
    def ended(self) -> float:
        return self.began + self.took_s


class Watched:
    """What a runner has done so far."""

    def __init__(self, child: processes.Child, file: Path) -> None:
        self.child = child
        self._file = file

    def calls(self) -> list[Call]:
        """Oldest first, by their beginning; a call under way is not among them."""
        lines = [json.loads(line) for line in self._file.read_text().splitlines()]
        found = [
            Call(line["what"], line["thread"], line["began"], line["took_s"], tuple(line.get("messages", ())))
            for line in lines
            if line["what"] != "checkout"
        ]
        return sorted(found, key=lambda call: call.began)

    def said(self, message: str) -> list[Mapping[str, Any]]:
        """Its log's lines with that message, each with `at` as seconds since 1970."""
        found = []
        for text in self.child.log.read_text().splitlines():
            line = json.loads(text) if text.startswith("{") else {}
            if line.get("message") == message:
                found.append({**line, "at": datetime.fromisoformat(line["at"]).timestamp()})
        return found


@contextmanager
def watched(there: Installation, *options: str, by: str = "parts.watched") -> Iterator[Watched]:
    """A runner that is ready; it is stopped at the end.

    Args:
        by: the program that is the runner, and writes down what it does.
    """
    folder = there.folder / "watched"
    folder.mkdir()
    calls, log = folder / "calls.jsonl", folder / "runner.log"
    argv = (sys.executable, "-m", by, str(calls), "runner", "--folder", str(folder / "work"), *options)
    env = {**os.environ, **there.environment, "PYTHONPATH": os.pathsep.join((str(_HERE), str(ROOT)))}
    child = processes.start("runner", argv, log, env=env, cwd=ROOT, at_our_death="KILL")
    try:
        processes.wait_until(lambda: '"ready"' in child.tail(), child, 30)
        yield Watched(child, calls)
    finally:
        child.stop()


@contextmanager
def installed(system: str) -> Iterator[Installation]:
    """An installation in a folder that goes with it."""
    with (
        ensure_engine() as engine,
        tempfile.TemporaryDirectory(prefix="tau-bench-") as folder,
        Installation(engine, Path(folder), system=system) as installation,
    ):
        yield installation
