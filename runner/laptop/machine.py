"""A job in, enacted on this very machine; what came of it out. What every command of a laptop does is here."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from ulid import ULID

from chalicelib.errors import BadInput, NotThere
from chalicelib.graph import Base
from chalicelib.model import Job, Run, RunState
from runner import actions, builders, images
from runner.capping import Capped
from runner.handed import Handed
from runner.laptop import alone, jobs, keeping, leaving
from runner.laptop.git_words import quiet
from runner.laptop.outlet import Output
from runner.laptop.screen import Screen
from runner.leftovers import reap
from runner.outcome import Ended, Outcome
from runner.pace import Real
from runner.run import enact, tried_once
from runner.signals import ENDED, Signals
from runner.stopping import Stopped, Stopping, Why
from runner.tools import Tools
from runner.workspace import Workspace

PASSED, FAILED, ERRORED, STOPPED = 0, 1, 2, 130
"""Exit codes. The last is a shell's for what Ctrl-C has ended."""
_CODES = {RunState.PASSED: PASSED, RunState.SKIPPED: PASSED, RunState.FAILED: FAILED}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Machine:
    """This machine, and who sits at it.

    Args:
        folder: where mirrors are kept and runs are worked on.
        output: what their logs are printed to.
        say: prints a line of our own.
        stopping: whether somebody wants it to stop.
    """

    folder: Path
    environ: Mapping[str, str]
    output: Output
    say: Say
    stopping: Stopping = field(default_factory=Stopping)


@dataclass(frozen=True)
class How:
    """What is asked of a run beside its job.

    Args:
        keep: leave a copy of the container of a step that did not pass.
        action: what enacts a word.
        capped: how much of a step's output is printed.
        bases: see `Tools`.
    """

    keep: bool = False
    action: Callable[[str], ModuleType] = actions.find
    capped: Callable[[], Capped] = Capped
    bases: Mapping[str, tuple[Base, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """What came of it, and what is there of it now."""

    run: Run
    outcome: Outcome
    copies: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()

    @property
    def code(self) -> int:
        """The exit code that tells the verdict."""
        return _CODES.get(self.outcome.state, ERRORED) if isinstance(self.outcome, Ended) else ERRORED


def until_stopped(work: Callable[[], Done], machine: Machine, command: str) -> Done | None:
    """Do it while this thread listens to signals; None where it was stopped before the first step.

    The first signal to stop ends the step and cleans up. At the second this process ends as it is.

    Args:
        command: how it is called by whoever typed it.

    Raises:
        TauError: it could not begin.
        Left: this process is to end as it is.
    """
    # What the runner writes for its journal, a terminal has said already.
    logging.getLogger("tau").addHandler(logging.NullHandler())
    signals, found = Signals(), list[Done]()

    def to_its_end() -> None:
        with contextlib.suppress(Stopped):
            found.append(work())

    with contextlib.closing(signals):
        Real().start(lambda: signals.ended_by(to_its_end), "run")
        while signals.wait(None) != ENDED:
            if machine.stopping.why is not None:
                machine.say(f"left as it is: the next `{command}` of the same removes what stayed in the engine")
                raise Left
            machine.say("stopping; once more leaves at once")
            machine.stopping.ask(Why.ASKED)
        signals.raise_what_ended_it()
    return found[0] if found else None


class Left(Exception):
    """Somebody does not wait for the end."""


def enacted(job: Job, system: str, machine: Machine, how: How = How()) -> Done:
    """Enact a job; see `only_one` for what has to be held meanwhile.

    Args:
        system: value of the label `tau.system`. What an earlier run under it has left in the engine goes first.

    Raises:
        TauError: it could not begin.
        Stopped: the same, since somebody asked for it.
    """
    edge = alone.edge(system, machine.environ, machine.folder / "runs" / f"{system}-artifacts")
    docker = images.connect()
    reap(docker, system, _of_nobody)
    now = datetime.now(UTC)
    run = tried_once(Run(str(ULID()), "", job, RunState.RUNNING, now, epoch=1, started_at=now))
    kept = keeping.Keeping(docker, run.id)
    screen, handed = Screen(machine.output, how.capped), Handed()
    tools = Tools(
        edge,
        Workspace(machine.folder, handed.listening(edge.secrets.get), machine.environ, person=quiet(machine.environ)),
        kept if how.keep else docker,
        socket.gethostname(),
        action=how.action,
        open_log=screen.open_log,
        handed=handed,
        builder=builders.builder(docker, machine.environ),
        bases=how.bases,
    )
    outcome = enact(run, tools, machine.stopping)
    screen.close()
    if isinstance(outcome, Ended) and outcome.state is RunState.PASSED:
        keeping.forget(docker, kept.copies)
        kept.copies.clear()
    keeping.forget_older_images(docker, system, job.lock, run.id)
    artifacts = leaving.written(outcome, edge.here, machine.folder / "artifacts" / system)
    return Done(run, outcome, tuple(kept.copies), artifacts)


def check_secrets(job: Job, given: alone.Given) -> None:
    """Each secret that a step needs is there.

    Raises:
        BadInput: one is not; says which variables give them.
    """
    missing = sorted(name for name in jobs.secrets(job) if not given.has(name))
    if missing:
        named = ", ".join(f"{alone.variable(name)} ({name})" for name in missing)
        raise BadInput(f"secrets are missing: set {named} in the environment")


def system_of(*whose: object) -> str:
    """Value of the label `tau.system` of what is started on this machine again and again.

    Args:
        whose: what tells it from everything else, so that nothing else is ever touched.
    """
    return f"laptop-{hashlib.sha256(os.fsencode('/'.join(map(str, whose)))).hexdigest()[:12]}"


@contextlib.contextmanager
def only_one(folder: Path, system: str, command: str) -> Iterator[None]:
    """What bears the label of this system is of nobody else while the block lasts.

    Raises:
        BadInput: it is another process's.
    """
    (folder / "locks").mkdir(exist_ok=True)
    with (folder / "locks" / system).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(f"another `{command}` of the same is under way: end it, or wait for it") from error
        yield


def _of_nobody(run: str) -> Run:
    raise NotThere(run)
