"""A run on a terminal: its log as it is written, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from chalicelib.model import StepResult, StepStatus
from chalicelib.objects import Objects
from runner.building import seconds
from runner.pace import Flag, Real
from runner.runlog import StepLog

_SOON_S = 0.2
_MARKS = {StepStatus.PASSED: "ok", StepStatus.SKIPPED: "--"}
_MOST_FAILURES = 20


class Terminal(Objects):
    """Where the pieces of a log go instead of a bucket."""

    def __init__(self, output: IO[bytes]) -> None:
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


class Screen:
    """Opens the logs of a run's steps, one after the other: a step's last line comes before the next one's first."""

    def __init__(self, output: IO[bytes]) -> None:
        self._terminal = Terminal(output)
        self._open: StepLog | None = None

    def open_log(self, _objects: Objects, prefix: str, now: Callable[[], Any], **more: Any) -> StepLog:
        """As `Tools.open_log`."""
        self.close()
        self._open = StepLog(self._terminal, prefix, now, pace=Eager(), **more)
        return self._open

    def close(self) -> None:
        """Everything is printed."""
        if self._open is not None:
            self._open.close()


def summary(steps: tuple[StepResult, ...]) -> Iterator[str]:
    """What came of each step, with the lines that show why."""
    for step in steps:
        mark = _MARKS.get(step.status, "!!")
        took = (
            ""
            if step.status is StepStatus.SKIPPED
            else f" in {seconds((step.ended_at - step.started_at).total_seconds())}"
        )
        yield f"{mark} {step.action:<10} {step.status}{took}{_counts(step.facts)}"
        if step.reason:
            yield f"   {step.reason}"
        for failure in step.facts.get("tests", {}).get("failures", ())[:_MOST_FAILURES]:
            yield f"   {failure['name']}: {failure['message']}"
        for line in step.lines:
            yield f"   | {line}"


def _counts(facts: Mapping[str, Any]) -> str:
    tests = facts.get("tests")
    if not tests:
        return ""
    return f"  {tests['passed']} passed, {tests['failed']} failed, {tests['skipped']} skipped"
