"""What the demo tells in, lines on a terminal out: a spinner where somebody watches, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

PASSED, FAILED = "✔", "✘"
_NAME_WIDTH = 9
_TIME_WIDTH = 7
_MARGIN = " " * (4 + _NAME_WIDTH + 1 + _TIME_WIDTH + 2)
_CHECK_MARGIN = " " * 14


@dataclass(frozen=True)
class Line:
    """One thing that happened.

    Args:
        name: what did it (`build`); the same width for all.
        text: what came of it, in words.
        took_s: how long; None = no matter.
        bad: it did not go well, which may be what was wanted.
        lines: shown below it.
    """

    name: str
    text: str
    took_s: float | None = None
    bad: bool = False
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One thing that has to be so; `found` says what is there instead."""

    text: str
    so: bool
    found: str = ""


def seconds(length_s: float) -> str:
    """`340 ms`, `1.2 s`, `1m 12s`: what a watcher compares."""
    if length_s < 1:
        return f"{length_s * 1000:.0f} ms"
    if length_s < 60:
        return f"{length_s:.1f} s"
    return f"{length_s // 60:.0f}m {length_s % 60:02.0f}s"


def line_text(line: Line) -> str:
    sign = FAILED if line.bad else PASSED
    took = "" if line.took_s is None else seconds(line.took_s)
    return f"  {sign} {line.name:<{_NAME_WIDTH}} {took:>{_TIME_WIDTH}}  {line.text}".rstrip()


def check_text(check: Check) -> str:
    if check.so:
        return f"    {PASSED} checked {check.text}"
    return f"    {FAILED} NOT SO  {check.text}" + (f" (found: {check.found})" if check.found else "")


def table(rows: Mapping[str, str]) -> list[str]:
    """Names and what they mean, aligned."""
    width = max(map(len, rows), default=0)
    return [f"  {name:<{width}}  {text}".rstrip() for name, text in rows.items()]


class View:
    """Prints; while it is entered, `busy` keeps a spinner at the bottom of a terminal."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        # A character that the terminal lacks becomes a `?`: the word beside it says the same.
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # always a text file here
        self.console = Console(highlight=False, soft_wrap=True, emoji=False)
        self.live = self.console.is_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        self._progress = Progress(
            TextColumn(" "),
            SpinnerColumn("dots" if sys.stdout.encoding.lower().startswith("utf") else "line"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.live,
        )
        self._task: TaskID | None = None
        self._doing = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.calm()
        self._progress.stop()

    def say(self, text: str = "", style: str = "") -> None:
        self.console.print(f"[{style}]{escape(text)}[/]" if style else escape(text))

    def title(self, text: str) -> None:
        self.calm()
        self.say()
        self._hang(text, "   ", "bold")

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes another command print for this terminal although we read it first; empty where there is none."""
        return {"FORCE_COLOR": "1", "COLUMNS": str(self.console.width)} if self.live else {}

    def rows(self, rows: Mapping[str, str]) -> None:
        margin = " " * (4 + max(map(len, rows), default=0))
        for row in table(rows):
            self._hang(row, margin)

    def line(self, line: Line) -> None:
        """Something that happened; whatever was under way is not any more."""
        self.calm()
        style = "red" if line.bad else ""
        self._hang(line_text(line), _MARGIN, style)
        for below in line.lines:
            self._hang(f"{_MARGIN}{below}", _MARGIN, style)

    def checks(self, checks: Iterable[Check]) -> None:
        self.calm()
        for check in checks:
            self._hang(check_text(check), _CHECK_MARGIN, "green" if check.so else "bold red")

    def ansi(self, text: str) -> None:
        """What another command printed, in its own colours."""
        self.console.print(Text.from_ansi(text))

    def _hang(self, text: str, margin: str, style: str = "") -> None:
        """Wrapped below its own column in a terminal; one line elsewhere, for grep."""
        width = self.console.width - 1 if self.live else sys.maxsize
        for line in text.splitlines():
            wrapped = textwrap.wrap(line, width, subsequent_indent=margin, break_on_hyphens=False)
            self.say("\n".join(wrapped), style)

    def busy(self, doing: str) -> None:
        """Say what is under way now; the same once more goes on counting its seconds."""
        if doing == self._doing:
            return
        self.calm()
        self._doing = doing
        if self.live:
            self._task = self._progress.add_task(escape(doing), total=None)

    def calm(self) -> None:
        """Nothing is under way."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task, self._doing = None, ""
