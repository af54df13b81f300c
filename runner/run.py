"""A claimed run in, its steps enacted one after the other, an end or a parking out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from chalicelib import pinning, revalidating, superseding, wire
from chalicelib.errors import LostClaim, Outrun, StepFailed, TauError, Withdrawn
from chalicelib.globs import matches
from chalicelib.model import Run, RunState, StepResult, StepStatus, WaitingFor
from chalicelib.when import should_run, when_of
from runner import images
from runner.context import Park
from runner.handed import Guard
from runner.made import built, is_spared
from runner.outcome import Ended, Halted, Outcome, Parked, Replaced
from runner.step import NO_RETRY, PARKED, Place, Watching, take, was_parked
from runner.stopping import Stopped, Stopping, Why
from runner.tools import Tools

log = logging.getLogger("tau.run")

# The kind of a journal's entry that says that a failure of ours was tried once more.
_RETRY = "retry"


def enact(
    run: Run, tools: Tools, stopping: Stopping | None = None, followed: Callable[[], bool] = lambda: True
) -> Outcome:
    """Do what is left of a run's steps.

    Args:
        stopping: whether, and why, to stop early.
        followed: whether somebody reads the log as it is written.

    Raises:
        LostClaim: another epoch holds the run; whatever was under way is left to it.
    """
    guard = Guard(tools.handed, run.job)
    return _shown(_enacted(run, tools, stopping or Stopping(), Watching(followed, guard)), guard)


def _shown(outcome: Outcome, guard: Guard) -> Outcome:
    """An outcome as the record, and whoever is told of it, may have it."""
    match outcome:
        case Halted():
            return replace(outcome, note=guard.text(outcome.note))
        case Parked():
            return replace(outcome, park=replace(outcome.park, reason=guard.text(outcome.park.reason)))
        case Replaced():
            return replace(outcome, reason=guard.text(outcome.reason))
        case Ended():
            return replace(outcome, reason=outcome.reason and guard.text(outcome.reason))


def _enacted(run: Run, tools: Tools, stopping: Stopping, watching: Watching) -> Outcome:
    try:
        return (
            _unwanted(run, tools, stopping)
            or _without_room(run, tools)
            or _steps(_pinned(run, tools, stopping), tools, stopping, watching)
        )
    except LostClaim:
        raise
    except Stopped as stopped:
        if stopped.why is Why.LOST:
            raise LostClaim(f"run {run.id} is another runner's now") from stopped
        return Halted(stopped.why, "; ".join(getattr(stopped, "__notes__", ())))
    except Outrun as outrun:
        return Replaced(outrun.by, str(outrun), for_good=True)
    except Withdrawn as withdrawn:
        return Ended(RunState.CANCELLED, str(withdrawn), _all(run, {}, tools.now()))
    except StepFailed as error:
        # Before the first step: the ref of which it was to build the newest commit is gone.
        return Ended(RunState.FAILED, str(error), _all(run, run.results, tools.now()))
    except (TauError, OSError) as error:
        # Before the first step or between two: no engine, no disk, an action that this runner does not know.
        log.warning("run broke", extra={"run": run.id, "error": str(error)})
        return _broken(run, tools.storage.full("", error) or str(error), run.results, tools)


def _unwanted(run: Run, tools: Tools, stopping: Stopping) -> Ended | Replaced | None:
    """Why a run that has had no effect outside yet must have none any more."""
    if run.has_acted:
        return None
    objection = revalidating.objection(run, tools.edge)
    if objection:
        return Ended(RunState.CANCELLED, objection, _all(run, {}, tools.now()))
    return replaced(run, tools, stopping) or _untouched(run, tools, stopping)


def _without_room(run: Run, tools: Tools) -> Parked | None:
    """Until when a run waits for which this machine's disk has no room."""
    park = tools.storage.admit(run)
    return Parked(park) if park else None


def _untouched(run: Run, tools: Tools, stopping: Stopping) -> Ended | None:
    """The end of a run whose pipeline asks for other files than those that changed; None where it may concern it.

    What cannot be compared counts as changed: a new branch, or what a forced push has thrown away.
    """
    event, paths = run.job.event, run.job.paths
    since = f"refs/heads/{event.pull.target}" if event.pull else event.before
    if not paths or since is None:
        return None
    try:
        files = tools.workspace.changed(run.job.source, event.ref or "HEAD", event.commit, since, stopping=stopping)
    except (TauError, OSError) as error:
        # A repository that cannot be reached is the next step's to tell.
        log.warning("cannot say what has changed", extra={"run": run.id, "error": str(error)})
        return None
    if files is None or any(matches(glob, file) for file in files for glob in paths):
        return None
    reason = f"no file has changed that matches {', '.join(paths)}"
    return Ended(RunState.SKIPPED, reason, _all(run, {}, tools.now()))


def replaced(run: Run, tools: Tools, stopping: Stopping | None = None) -> Replaced | None:
    """The newer run that takes this one's place, as the commits say."""
    rivals = superseding.rivals(run, superseding.others_of(run, tools.edge))
    source, ref = run.job.source, run.job.event.ref or "HEAD"
    try:
        newer = superseding.successor(run, rivals, lambda: tools.workspace.ancestry(source, ref, stopping=stopping))
    except (TauError, OSError) as error:
        # A repository that cannot be reached is the next step's to tell.
        log.warning("cannot say which push is newer", extra={"run": run.id, "error": str(error)})
        return None
    return Replaced(newer.id, superseding.reason(newer)) if newer else None


def _pinned(run: Run, tools: Tools, stopping: Stopping) -> Run:
    """The run with the commit that it builds: the newest of its ref, written down before the first step.

    Whoever goes on with it, or does it again, builds the same.
    """
    job = pinning.job_of(run)
    if job.event.commit is None:
        commit = tools.workspace.tip(job.source, job.event.ref or "HEAD", stopping=stopping)
        tools.edge.store.pin(run, pinning.entry(run, commit, wire.time_text(tools.now())), commit)
        log.info("pinned", extra={"run": run.id, "source": job.source.name, "commit": commit})
        job = pinning.with_commit(job, commit)
    return replace(run, job=job)


def _steps(run: Run, tools: Tools, stopping: Stopping, watching: Watching) -> Ended | Parked:
    deadline = tools.pace.monotonic() + run.job.timeout_s
    results = _still_true(run, tools)
    broken = _broken_off(results)
    end = broken and _stopped(run, broken, results, tools)
    with tools.workspace.run_folder(f"{run.id}-{run.epoch}", run.job.lock) as folder, ExitStack() as logs:
        logs.callback(tools.storage.took, run, folder, results)
        for index, step in enumerate(run.job.steps):
            if str(index) in results or not should_run(when_of(step), healthy=end is None) or is_spared(step, results):
                continue
            stopping.check()
            place = Place(run, index, step, folder, deadline, tools.pace, logs, stopping, watching)
            outcome = take(place, results, tools)
            if isinstance(outcome, Park):
                return Parked(outcome, () if was_parked(run, index) else (_entry(run, PARKED, index),))
            results[str(index)] = outcome
            if outcome.status is StepStatus.SKIPPED:
                return Ended(RunState.SKIPPED, outcome.reason, _all(run, results, tools.now()))
            if outcome.status is not StepStatus.PASSED and end is None:
                end = _stopped(run, outcome, results, tools)
            if isinstance(end, Parked):
                return end
            # What came of the last one is written with the run's end.
            if any(should_run(when_of(later), healthy=end is None) for later in run.job.steps[index + 1 :]):
                tools.edge.store.finish_step(run, index, outcome)
    state, reason = (end.state, end.reason) if isinstance(end, Ended) else (RunState.PASSED, None)
    return Ended(state, reason, _all(run, results, tools.now()))


def _broken_off(results: Mapping[str, StepResult]) -> StepResult | None:
    """The first step that did not pass."""
    ordered = (results[index] for index in sorted(results, key=int))
    return next((result for result in ordered if result.status is not StepStatus.PASSED), None)


def _still_true(run: Run, tools: Tools) -> dict[str, StepResult]:
    """The results of an earlier claim that still hold.

    An image that is not in this engine (the run was claimed on another host, or it was removed) is built and
    tested again: the verdict of a test is worth something for the image that was tested, and no other. A step that did
    not pass is written down only where others still have to run because of it: it is not tried again.
    """
    done = dict(run.results)
    left = [index for index, step in enumerate(run.job.steps) if str(index) not in done and not is_spared(step, done)]
    if not any(_needs_image(run, index, tools) for index in left):
        return done
    gone = [int(index) for index, image in built(done).items() if not images.has(tools.docker, image.id)]
    return {index: result for index, result in done.items() if not gone or int(index) < min(gone)}


def _needs_image(run: Run, index: int, tools: Tools) -> bool:
    """Whether what is left of a step needs the image in this engine."""
    without = any(entry["step"] == index and entry.get("needs_image") is False for entry in run.journal)
    return tools.action(run.job.steps[index].action).NEEDS_IMAGE and not without


def _stopped(run: Run, outcome: StepResult, results: Mapping[str, StepResult], tools: Tools) -> Ended | Parked:
    """What follows a step that did not pass."""
    if outcome.status is StepStatus.FAILED:
        return Ended(RunState.FAILED, outcome.reason, _all(run, results, tools.now()))
    if outcome.facts.get(NO_RETRY):
        return Ended(RunState.ERRORED, outcome.reason, _all(run, results, tools.now()))
    return _broken(run, outcome.reason, results, tools)


def _broken(run: Run, reason: str | None, results: Mapping[str, StepResult], tools: Tools) -> Ended | Parked:
    """The run's end after a failure of ours; the first one is tried once more instead."""
    now = tools.now()
    if not any(entry["kind"] == _RETRY for entry in run.journal):
        again_at = now + timedelta(seconds=tools.edge.settings.retry_s)
        again = Park(WaitingFor.RETRY, again_at, f"once more after: {reason}")
        return Parked(again, (_entry(run, _RETRY, -1),))
    return Ended(RunState.ERRORED, reason, _all(run, results, now))


def tried_once(run: Run) -> Run:
    """The run as one that is not tried a second time: a failure of ours ends it."""
    return replace(run, journal=(*run.journal, _entry(run, _RETRY, -1)))


def _entry(run: Run, kind: str, index: int) -> Mapping[str, Any]:
    return {"kind": kind, "step": index, "key": "", "epoch": run.epoch}


def _all(run: Run, results: Mapping[str, StepResult], now: datetime) -> tuple[StepResult, ...]:
    return tuple(
        results.get(str(index)) or StepResult(step.action, StepStatus.SKIPPED, now, now)
        for index, step in enumerate(run.job.steps)
    )
