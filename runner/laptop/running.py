"""A wish in, its run on this machine out: the parts of a laptop put together."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from ulid import ULID

from chalicelib import pinning, starts
from chalicelib.config import Config
from chalicelib.errors import BadInput, NotThere
from chalicelib.model import Job, Run, RunState
from chalicelib.starting import Wish
from runner import builders, images
from runner.building import seconds
from runner.handed import Handed
from runner.laptop import alone, jobs, keeping, leaving
from runner.laptop.screen import Screen, summary
from runner.laptop.stand_ins import Copy, StandIns
from runner.leftovers import reap
from runner.made import built
from runner.pace import Real
from runner.run import Ended, Halted, Outcome, Parked, Tools, enact, tried_once
from runner.signals import ENDED, Signals
from runner.stopping import Stopped, Stopping, Why
from runner.workspace import Workspace

PASSED, FAILED, ERRORED, STOPPED = 0, 1, 2, 130
"""Exit codes. The last is a shell's for what Ctrl-C has ended."""
_CODES = {RunState.PASSED: PASSED, RunState.SKIPPED: PASSED, RunState.FAILED: FAILED}


@dataclass(frozen=True)
class Asked:
    """What `tau run` was told.

    Args:
        wish: the pipeline, and of what it is; what is left open there, the working copy says.
        path: a folder of the working copy that stands in for the pipeline's repository.
        other: one of the working copy that stands in for the other repository; None = it is fetched from its forge.
        config, where: the ci.yml, and what it is called in a complaint.
        effects: the actions with an effect outside that are wanted.
        keep: leave a copy of the container of a step that did not pass.
        folder: where mirrors are kept and the run is worked on.
    """

    wish: Wish
    path: Path
    other: Path | None
    config: Config
    where: str
    effects: tuple[str, ...]
    keep: bool
    folder: Path


@dataclass(frozen=True)
class Done:
    """What came of it, and what is there of it now."""

    run: Run
    outcome: Outcome
    copies: tuple[str, ...]
    artifacts: tuple[str, ...] = ()


Say = Callable[[str], None]


def run_here(asked: Asked, environ: Mapping[str, str], output: IO[bytes], say: Say) -> int:
    """Run a pipeline; the exit code that tells its verdict.

    The first signal to stop ends the step and cleans up. At the second this process ends as it is.

    Raises:
        TauError: it could not begin.
    """
    # What the runner writes for its journal, a terminal has said already.
    logging.getLogger("tau").addHandler(logging.NullHandler())
    stopping, signals, found = Stopping(), Signals(), list[Done]()
    began = datetime.now(UTC)

    def work() -> None:
        with contextlib.suppress(Stopped):
            found.append(_run(asked, environ, output, say, stopping))

    stopping_twice = _beside(work, signals, stopping, say)
    if stopping_twice:
        return STOPPED
    if not found:
        say("stopped before the first step")
        return STOPPED
    _tell(found[0], seconds((datetime.now(UTC) - began).total_seconds()), say)
    outcome = found[0].outcome
    if isinstance(outcome, Halted):
        return STOPPED
    return _CODES.get(outcome.state, ERRORED) if isinstance(outcome, Ended) else ERRORED


def _beside(work: Callable[[], None], signals: Signals, stopping: Stopping, say: Say) -> bool:
    """Do it while this thread listens to signals; whether it was left in the middle."""
    Real().start(lambda: signals.ended_by(work), "run")
    while signals.wait(None) != ENDED:
        if stopping.why is not None:
            say("left as it is: the next `tau run` of this pipeline removes what stayed in the engine")
            return True
        say("stopping; once more leaves at once")
        stopping.ask(Why.ASKED)
    signals.raise_what_ended_it()
    return False


def _run(asked: Asked, environ: Mapping[str, str], output: IO[bytes], say: Say, stopping: Stopping) -> Done:
    stand_ins = StandIns(asked.folder / "stand-ins", environ, stopping)
    copy = stand_ins.look(asked.path)
    system = _system(copy, asked.wish.pipeline)
    edge = alone.edge(system, environ, asked.folder / "runs" / f"{system}-artifacts")
    given = alone.Given(environ)
    with _only_one(asked.folder, edge.settings.system):
        job = _job(asked, copy, stand_ins, given, say)
        docker = images.connect()
        reap(docker, edge.settings.system, _of_nobody)
        run = tried_once(_new(job))
        kept = keeping.Keeping(docker, run.id)
        screen, handed = Screen(output), Handed()
        tools = Tools(
            edge,
            Workspace(asked.folder, handed.listening(edge.secrets.get), environ),
            kept if asked.keep else docker,
            socket.gethostname(),
            open_log=screen.open_log,
            handed=handed,
            builder=builders.builder(docker, environ),
        )
        outcome = enact(run, tools, stopping)
        screen.close()
        if isinstance(outcome, Ended) and outcome.state is RunState.PASSED:
            keeping.forget(docker, kept.copies)
            kept.copies.clear()
        keeping.forget_older_images(docker, edge.settings.system, job.lock, run.id)
        artifacts = leaving.written(outcome, edge.here, asked.folder / "artifacts" / system)
    return Done(run, outcome, tuple(kept.copies), artifacts)


def _job(asked: Asked, copy: Copy, stand_ins: StandIns, given: alone.Given, say: Say) -> Job:
    """The job of the working copy as it is now; what it is of, and what it leaves out, is said."""
    ref, repository = asked.wish.ref or copy.ref, asked.wish.repository or copy.origin
    wish = replace(asked.wish, ref=ref, repository=repository if _is_open(asked) else asked.wish.repository)
    planned = jobs.trimmed(jobs.planned(wish, asked.config, asked.where, str(ULID())), asked.effects)
    _check_secrets(planned.job, given)
    snapshot = stand_ins.snapshot(copy, jobs.own_refs(planned.job))
    addresses = {planned.job.source.name: snapshot.address, **_others(asked, planned.job, stand_ins)}
    job = jobs.at(pinning.with_commit(jobs.readable(planned.job, given.has), snapshot.commit), addresses)
    state = "with what is not committed" if snapshot.dirty else "as it was committed"
    say(f"{job.pipeline}: {copy.folder} {state}, {snapshot.commit[:7]}, as {job.event.ref or 'the default branch'}")
    for step in planned.left_out:
        say(jobs.left_out(step))
    return job


def _is_open(asked: Asked) -> bool:
    """Whether the pipeline is of several repositories, so that the working copy's origin says which."""
    named = next((one for one in asked.config.pipelines if one.name == asked.wish.pipeline), None)
    return named is not None and starts.literal_repository(named) is None


def _others(asked: Asked, job: Job, stand_ins: StandIns) -> dict[str, str]:
    """Where the repositories beside the job's own are fetched from."""
    refs = jobs.others(job)
    if asked.other is None:
        return {name: stand_ins.fetched(job.sources[name], refs[name]) for name in refs}
    if len(refs) != 1:
        raise BadInput(f"--from stands in for one other repository; {job.pipeline} builds from {len(refs)}")
    ((name, wanted),) = refs.items()
    return {name: stand_ins.snapshot(stand_ins.look(asked.other), wanted).address}


def _check_secrets(job: Job, given: alone.Given) -> None:
    missing = sorted(name for name in jobs.secrets(job) if not given.has(name))
    if missing:
        named = ", ".join(f"{alone.variable(name)} ({name})" for name in missing)
        raise BadInput(f"secrets are missing: set {named} in the environment")


def _new(job: Job) -> Run:
    now = datetime.now(UTC)
    return Run(str(ULID()), "", job, RunState.RUNNING, now, epoch=1, started_at=now)


def _system(copy: Copy, pipeline: str) -> str:
    """Value of the label `tau.system`: of one pipeline of one working copy, so that nothing else is ever touched."""
    whose = os.fsencode(copy.folder / pipeline)
    return f"laptop-{hashlib.sha256(whose).hexdigest()[:12]}"


@contextlib.contextmanager
def _only_one(folder: Path, system: str) -> Iterator[None]:
    """What bears the label of this system is of nobody else while the block lasts.

    Raises:
        BadInput: it is another process's.
    """
    (folder / "locks").mkdir(exist_ok=True)
    with (folder / "locks" / system).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput("another `tau run` of this pipeline and working copy is under way: wait for it") from error
        yield


def _of_nobody(run: str) -> Run:
    raise NotThere(run)


def _tell(done: Done, took: str, say: Say) -> None:
    outcome, run = done.outcome, done.run
    if isinstance(outcome, Halted):
        say(f"stopped after {took}{f': {outcome.note}' if outcome.note else ''}")
    if isinstance(outcome, Parked):
        say(f"errored: {outcome.park.reason}")
    if isinstance(outcome, Ended):
        for line in summary(outcome.steps):
            say(line)
        say(f"{outcome.state} in {took}{f': {outcome.reason}' if outcome.reason else ''}")
        for image in built({str(index): step for index, step in enumerate(outcome.steps)}).values():
            name = f"{image.name}:r-{run.id.lower()}"
            say(f"image {name} stays until the next run; `docker rmi {name}` removes it")
    for line in done.artifacts:
        say(f"artifact {line}")
    for copy in done.copies:
        say(f"kept: `docker run --rm -it --entrypoint sh {copy}` gets into it, `docker rmi {copy}` removes it")
