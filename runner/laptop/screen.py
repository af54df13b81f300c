"""A run on a terminal: its log as it is written, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chalicelib.model import StepResult, StepStatus
from chalicelib.objects import Objects
from chalicelib.reports.words import clean, clean_lines, size
from runner.building import seconds
from runner.capping import PREFIX, Capped
from runner.laptop.outlet import Output
from runner.pace import Flag, Real
from runner.runlog import StepLog
from runner.terminal import harmless_line

_SOON_S = 0.2
_MARKS = {StepStatus.PASSED: "ok", StepStatus.SKIPPED: "--"}
_MOST_FAILURES = 20
_MOST_SHOWN = 500


class Terminal(Objects):
    """Where the pieces of a log go instead of a bucket."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def put_once(self, key: str, body: bytes, metadata: Mapping[str, str] | None = None) -> bool:
        """Print a piece; an index is for readers of a bucket."""
        del metadata
        if not key.endswith("/index"):
            self._output.write(body)
            self._output.flush()
        return True


class Eager(Real):
    """A pace at which nobody who reads along waits for long."""

    def flag(self) -> Flag:
        return _Impatient(super().flag())


class _Impatient:
    def __init__(self, flag: Flag) -> None:
        self._flag = flag
        self.is_set, self.set, self.clear = flag.is_set, flag.set, flag.clear

    def wait(self, timeout: float | None = None) -> bool:
        return self._flag.wait(_SOON_S if timeout is None else min(timeout, _SOON_S))


class Endless(Capped):
    """All of it passes, for as long as it takes; only what a terminal is too slow for is dropped, and counted."""

    def __init__(self) -> None:
        super().__init__()
        self._is_full = False
        self._lost = 0

    def feed(self, chunk: bytes, *, ours: bool = False) -> bytes:
        """See `Capped`."""
        full, self._is_full = self._is_full, False
        if full and not ours:
            self._lost += len(chunk)
            return b""
        return b"".join(self.end()) + chunk

    def end_head(self) -> bytes:
        """What comes next is too much."""
        self._is_full = True
        return b""

    def end(self) -> Iterator[bytes]:
        """See `Capped`."""
        lost, self._lost = self._lost, 0
        if lost:
            yield f"\n{PREFIX}{lost} bytes dropped here ({size(lost)})\n".encode()


class Screen:
    """Opens the logs of a run's steps, one after the other: a step's last line comes before the next one's first.

    Args:
        capped: how much of each is printed.
    """

    def __init__(self, output: Output, capped: Callable[[], Capped] = Capped) -> None:
        self._terminal = Terminal(output)
        self._capped = capped
        self._open: StepLog | None = None

    def open_log(self, _objects: Objects, prefix: str, now: Callable[[], Any], **more: Any) -> StepLog:
        """As `Tools.open_log`."""
        self.close()
        self._open = StepLog(self._terminal, prefix, now, pace=Eager(), capped=self._capped(), **more)
        return self._open

    def close(self) -> None:
        """Everything is printed."""
        if self._open is not None:
            self._open.close()


def summary(steps: tuple[StepResult, ...]) -> Iterator[str]:
    """What came of each step, with the lines that show why: whoever wrote those, none passes for one of ours."""
    for step in steps:
        mark = _MARKS.get(step.status, "!!")
        took = (
            ""
            if step.status is StepStatus.SKIPPED
            else f" in {seconds((step.ended_at - step.started_at).total_seconds())}"
        )
        yield f"{mark} {step.action:<10} {step.status}{took}{_counts(step.facts)}"
        for line in clean_lines(step.reason or "", limit=_MOST_SHOWN):
            yield f"   {line}"
        for failure in step.facts.get("tests", {}).get("failures", ())[:_MOST_FAILURES]:
            first, *more = clean_lines(failure["message"], limit=_MOST_SHOWN) or ("",)
            yield f"   {clean(failure['name'], _MOST_SHOWN)}: {first}"
            for line in more:
                yield f"     {line}"
        for line in step.lines:
            yield f"   | {harmless_line(line)}"


def _counts(facts: Mapping[str, Any]) -> str:
    tests = facts.get("tests")
    if not tests:
        return ""
    return f"  {tests['passed']} passed, {tests['failed']} failed, {tests['skipped']} skipped"
