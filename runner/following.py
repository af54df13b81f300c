"""A run that goes on in; its log as it is written, and its end, out."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timedelta

from chalicelib.edge import Edge
from chalicelib.errors import BadInput
from chalicelib.model import Run, StepStatus
from chalicelib.reports.facts import artifacts
from chalicelib.reports.words import counted, duration, sign, size
from runner import runlog
from runner.capping import PREFIX
from runner.listing import state_words
from runner.pace import Pace
from runner.terminal import RESET, Harmless

FOLLOWED_FOR = timedelta(seconds=60)
"""So long a runner writes in small pieces for somebody who reads along; who goes on reading says so in time."""
_SAY_EVERY_S = 30.0
# What is printed is read two seconds later at most: one until it is stored, and half a one for each call.
_LOOK_EVERY_S = 0.5
_END_WITHIN_S = 15.0
_END_LOOK_EVERY_S = 0.5
_BOLD = "\x1b[1m"


@dataclass(frozen=True)
class Part:
    """What is shown of a log.

    Args:
        step: only this one, from 1.
        failed: only the steps that did not pass.
        as_stored: byte for byte; else as a terminal can have it.
    """

    step: int | None = None
    failed: bool = False
    as_stored: bool = True

    def holds(self, run: Run, index: int) -> bool:
        result = run.results.get(str(index))
        failed = result is not None and result.status in {StepStatus.FAILED, StepStatus.ERRORED}
        return self.step in {None, index + 1} and (failed or not self.failed)


def print_log(edge: Edge, run_id: str, pace: Pace, *, follow: bool, part: Part = Part()) -> None:
    """The pieces of a run's log as they come; with `follow` until its end.

    Raises:
        NotThere: there is no such run.
        BadInput: it has no such step.
    """
    last, said_s = "", None
    out: _Out = _Out() if part.as_stored else _Folded()
    while True:
        run = edge.store.run(run_id)
        _check(part, run)
        if follow and not run.ended and (said_s is None or pace.monotonic() - said_s >= _SAY_EVERY_S):
            said_s = pace.monotonic()
            edge.store.follow(run_id, pace.now() + FOLLOWED_FOR)
        for key, piece in runlog.read(edge.objects, run_id, last, lambda index, run=run: part.holds(run, index)):  # type: ignore[misc]
            last = key
            out.piece(run, *runlog.place(key), piece)
        if run.ended or not follow:
            break
        pace.sleep(_LOOK_EVERY_S)
    out.end()
    print(f"{PREFIX}{run_id}: {state_words(run)}{f': {run.reason}' if run.reason else ''}", file=sys.stderr)  # noqa: T201 - a command's answer
    left = artifacts(result for index, result in run.results.items() if part.holds(run, int(index)))
    if left:
        total = size(sum(one.size_bytes for one in left))
        print(f"{PREFIX}{counted(len(left), 'artifact')}, {total}: tau artifacts {run_id} --to DIR", file=sys.stderr)  # noqa: T201 - the same


def _check(part: Part, run: Run) -> None:
    steps = run.job.steps
    if part.step is not None and part.step > len(steps):
        names = ", ".join(f"{number} {step.action}" for number, step in enumerate(steps, 1))
        raise BadInput(f"the run {run.id} has no step {part.step}; its steps are {names}")


class _Out:
    """As it is stored: for files, pipes and who asks for it."""

    def piece(self, run: Run, epoch: int, index: int, text: bytes) -> None:  # noqa: ARG002 - the other one's
        self.write(text)

    def end(self) -> None:
        """Nothing more comes."""

    @staticmethod
    def write(text: bytes) -> None:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()


class _Folded(_Out):
    """On a terminal: a line above each step, and of its output only what does a terminal no harm."""

    def __init__(self) -> None:
        self._at: tuple[int, int] | None = None
        self._text = Harmless()
        self._line_begins = True

    def piece(self, run: Run, epoch: int, index: int, text: bytes) -> None:
        if self._at != (epoch, index):
            self.end()
            self._at = epoch, index
            self.write(f"{_BOLD}{heading(run, epoch, index)}{RESET}\n".encode())
        shown = self._text.feed(text)
        self._line_begins = shown.endswith(b"\n") if shown else self._line_begins
        self.write(shown)

    def end(self) -> None:
        if self._at is not None:
            rest = self._text.end()
            self.write(rest if self._line_begins else rest + b"\n")
            self._text, self._line_begins = Harmless(), True


def heading(run: Run, epoch: int, index: int) -> str:
    """`── test (step 2 of 3): ✘ failed, 2m 14s`; of what is not over yet, or went on under a later claim, no end."""
    action = run.job.steps[index].action
    claim = f", claim {epoch}" if epoch > 1 else ""
    result = run.results.get(str(index))
    over = f": {sign(result.status)} {result.status}, {duration(result.ended_at - result.started_at)}" if result else ""
    return f"── {action} (step {index + 1} of {len(run.job.steps)}{claim}){over}"


def wait_for_end(edge: Edge, run_id: str, pace: Pace, limit_s: float = _END_WITHIN_S) -> Run:
    """The run as soon as it is at its end, or as it stands after `limit_s`."""
    until = pace.monotonic() + limit_s
    run = edge.store.run(run_id)
    while not run.ended and pace.monotonic() < until:
        pace.sleep(_END_LOOK_EVERY_S)
        run = edge.store.run(run_id)
    return run
