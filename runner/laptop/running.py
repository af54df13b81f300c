"""A wish in, its run on this machine and the exit code that tells its verdict out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from chalicelib.model import Run
from chalicelib.reports.words import clean
from runner.building import seconds
from runner.laptop import alone, copies, jobs, repeating
from runner.laptop.copies import Asked
from runner.laptop.machine import (
    STOPPED,
    Done,
    How,
    Left,
    Machine,
    Say,
    check_secrets,
    enacted,
    only_one,
    system_of,
    until_stopped,
)
from runner.laptop.screen import summary
from runner.laptop.stand_ins import StandIns
from runner.made import built
from runner.outcome import Ended, Halted, Parked

_COMMAND = "tau run"
_MOST_SHOWN = 500


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a run here.

    Args:
        effects: the actions with an effect outside that are wanted.
        keep: leave a copy of the container of a step that did not pass.
    """

    effects: tuple[str, ...] = ()
    keep: bool = False


def run_here(asked: Asked, wanted: Wanted, machine: Machine) -> int:
    """Run a pipeline of a working copy.

    Raises:
        TauError: it could not begin.
    """

    def work() -> Done:
        stand_ins = _stand_ins(machine)
        copy = stand_ins.look(asked.path)
        system = system_of(copy.folder, asked.wish.pipeline)
        with only_one(machine.folder, system, _COMMAND):
            given = alone.Given(machine.environ)
            trim = partial(jobs.trimmed, wanted=wanted.effects)
            trimmed = copies.job_of(asked, copy, trim, stand_ins, given, machine.say, whose=system)
            _say_left_out(trimmed, machine.say)
            return enacted(trimmed.job, system, machine, How(keep=wanted.keep))

    return _told(work, machine, lambda _: ())


def run_again(there: Run, wanted: Wanted, machine: Machine) -> int:
    """Repeat a run of an installation, of the same commits and on the same bases; says whether it ended the same.

    Args:
        there: its record.

    Raises:
        TauError: it could not begin; or the record does not say which commit it was of.
    """
    recorded = repeating.recorded(there)
    trimmed = jobs.trimmed(recorded.job, wanted.effects)

    def work() -> Done:
        system = system_of("repeated", machine.folder, there.job.source.name, there.job.pipeline)
        with only_one(machine.folder, system, _COMMAND):
            given, stand_ins = alone.Given(machine.environ), _stand_ins(machine)
            check_secrets(trimmed.job, given)
            for line in repeating.opening(recorded, there):
                machine.say(line)
            _say_left_out(trimmed, machine.say)
            addresses = {
                name: stand_ins.fetched_at(trimmed.job.sources[name], refs, recorded.commits, whose=system)
                for name, refs in jobs.repositories(trimmed.job).items()
            }
            job = jobs.at(jobs.readable(trimmed.job, given.has), addresses)
            return enacted(job, system, machine, How(keep=wanted.keep, bases=recorded.bases))

    return _told(work, machine, lambda done: repeating.compared(there, done.outcome, trimmed.left_out))


def _stand_ins(machine: Machine) -> StandIns:
    return StandIns(machine.folder / "stand-ins", machine.environ, machine.stopping)


def _say_left_out(trimmed: jobs.Trimmed, say: Say) -> None:
    for step in trimmed.left_out:
        say(jobs.left_out(step))


def _told(work: Callable[[], Done], machine: Machine, closing: Callable[[Done], Iterable[str]]) -> int:
    """Do it, and say what came of it; the exit code.

    Args:
        closing: what else is to be said of it.
    """
    began = datetime.now(UTC)
    try:
        done = until_stopped(work, machine, _COMMAND)
    except Left:
        return STOPPED
    if done is None:
        machine.say("stopped before the first step")
        return STOPPED
    tell(done, seconds((datetime.now(UTC) - began).total_seconds()), machine.say)
    for line in closing(done):
        machine.say(line)
    return STOPPED if isinstance(done.outcome, Halted) else done.code


def tell(done: Done, took: str, say: Say) -> None:
    """What came of a run, and what stays of it."""
    outcome, run = done.outcome, done.run
    if isinstance(outcome, Halted):
        say(f"stopped after {took}{_why(outcome.note)}")
    if isinstance(outcome, Parked):
        say(f"errored{_why(outcome.park.reason)}")
    if isinstance(outcome, Ended):
        for line in summary(outcome.steps):
            say(line)
        say(f"{outcome.state} in {took}{_why(outcome.reason)}")
        for image in built({str(index): step for index, step in enumerate(outcome.steps)}).values():
            name = f"{image.name}:r-{run.id.lower()}"
            say(f"image {name} stays until the next run; `docker rmi {name}` removes it")
    for line in done.artifacts:
        say(f"artifact {line}")
    for copy in done.copies:
        say(f"kept: `docker run --rm -it --entrypoint sh {copy}` gets into it, `docker rmi {copy}` removes it")


def _why(reason: str | None) -> str:
    return f": {clean(reason, _MOST_SHOWN)}" if reason else ""
