"""A claimed run in, its steps enacted one after the other, an end or a parking out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from chalicelib import wire
from chalicelib.edge import Edge
from chalicelib.errors import LostClaim, StepFailed, TauError
from chalicelib.model import Run, RunState, Step, StepResult, StepStatus, WaitingFor
from chalicelib.reports.words import duration
from runner import actions, images
from runner.context import Aws, Context, Image, Park
from runner.journal import RunJournal
from runner.runlog import StepLog, step_prefix
from runner.workspace import Workspace

log = logging.getLogger("tau.run")

_MOST_REASON = 1000
_MOST_LINES = 20
_MOST_FACTS = 100_000
# Kinds of journal entries beside the actions' own intents.
_RETRY = "retry"
_PARKED = "parked"


@dataclass(frozen=True)
class Tools:
    """What a runner has for every run.

    Args:
        docker: the engine's client.
        runner: this runner's id, for labels.
        action: a word of ci.yml -> what enacts it.
    """

    edge: Edge
    workspace: Workspace
    docker: Any
    runner: str
    now: Callable[[], datetime]
    action: Callable[[str], ModuleType] = actions.find


@dataclass(frozen=True)
class Parked:
    """The claim is over and the run is not; `entries` are the journal's last ones, written with it."""

    park: Park
    entries: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Ended:
    """The run is at an end; `steps` are all of them, those that never ran as skipped."""

    state: RunState
    reason: str | None
    steps: tuple[StepResult, ...]


def enact(run: Run, tools: Tools, lost: Callable[[], bool] = lambda: False) -> Ended | Parked:
    """Do what is left of a run's steps.

    Args:
        lost: whether the claim is known to be another's: then no time is left for anything.

    Raises:
        LostClaim: another epoch holds the run; whatever was under way is left to it.
    """
    try:
        return _steps(run, tools, lost)
    except LostClaim:
        raise
    except TauError as error:
        # Before the first step or between two: no engine, no disk, an action that this runner does not know.
        log.warning("run broke", extra={"run": run.id, "error": str(error)})
        return _broken(run, str(error), run.results, tools)


def _steps(run: Run, tools: Tools, lost: Callable[[], bool]) -> Ended | Parked:
    deadline = time.monotonic() + run.job.timeout_s
    results = _still_true(run, tools)
    with tools.workspace.run_folder(f"{run.id}-{run.epoch}") as folder, ExitStack() as logs:
        for index, step in enumerate(run.job.steps):
            if str(index) in results:
                continue
            outcome = _step(_Place(run, index, step, folder, deadline, logs, lost), results, tools)
            if isinstance(outcome, Park):
                return Parked(outcome, () if _was_parked(run, index) else (_entry(run, _PARKED, index),))
            results[str(index)] = outcome
            tools.edge.store.finish_step(run, index, outcome)
            if outcome.status is not StepStatus.PASSED:
                return _stopped(run, outcome, results, tools)
    return Ended(RunState.PASSED, None, _all(run, results, tools.now()))


def _still_true(run: Run, tools: Tools) -> dict[str, StepResult]:
    """The results of an earlier claim that still hold.

    An image that is not in this engine (the run was claimed on another host, or it was removed) is built and
    tested again: the verdict of a test is worth something for the image that was tested, and no other.
    """
    done = {index: result for index, result in run.results.items() if result.status is StepStatus.PASSED}
    left = [index for index in range(len(run.job.steps)) if str(index) not in done]
    if not any(tools.action(run.job.steps[index].action).NEEDS_IMAGE for index in left):
        return done
    gone = [int(index) for index, image in _built(done).items() if not images.has(tools.docker, image.id)]
    return {index: result for index, result in done.items() if not gone or int(index) < min(gone)}


def _built(results: Mapping[str, StepResult]) -> dict[str, Image]:
    return {
        index: Image(result.facts["image"]["name"], result.facts["image"]["id"])
        for index, result in results.items()
        if result.action == "build"
    }


def images_of(results: Mapping[str, StepResult]) -> Mapping[str, Image]:
    """By name, the images that the steps so far built, with their digests by registry where they were pushed."""
    found = {image.name: image for image in _built(results).values()}
    for result in results.values():
        name = result.facts.get("image", {}).get("name")
        if result.action == "push" and name in found:
            found[name] = replace(found[name], digests={**found[name].digests, **result.facts["digests"]})
    return found


@dataclass(frozen=True)
class _Place:
    """One step of one claim. `logs` waits for the logs that are still being stored when the claim ends."""

    run: Run
    index: int
    step: Step
    folder: Path
    deadline: float
    logs: ExitStack
    lost: Callable[[], bool]

    def remaining_s(self) -> float:
        return 0.0 if self.lost() else self.deadline - time.monotonic()


def _step(place: _Place, results: Mapping[str, StepResult], tools: Tools) -> StepResult | Park:
    run, index = place.run, place.index
    started_at = tools.now()
    step_log = StepLog(tools.edge.objects, step_prefix(run.id, run.epoch, index), tools.now)
    place.logs.callback(step_log.close)
    if not _was_parked(run, index):
        step_log.line(f"{place.step.action} (step {index + 1} of {len(run.job.steps)})")
    try:
        return _act(tools.action(place.step.action), place, _context(place, results, step_log, tools))
    except LostClaim:
        step_log.line("another runner has taken this run over; this one stops here")
        raise
    except StepFailed as failure:
        step_log.line(f"failed: {failure}")
        return _not_passed(place, StepStatus.FAILED, started_at, tools.now(), failure)
    except Exception as error:
        # Around one step: whatever breaks in it is ours, has a place in the record, and ends no other run.
        log.exception("step broke", extra={"run": run.id, "step": index, "action": place.step.action})
        step_log.line(f"errored: {error}")
        return _not_passed(place, StepStatus.ERRORED, started_at, tools.now(), error)
    finally:
        step_log.finish()


def _act(action: ModuleType, place: _Place, context: Context) -> StepResult | Park:
    if place.remaining_s() <= 0:
        raise StepFailed(f"the run took longer than its {duration(place.run.job.timeout_s)}")
    settings = action.Settings.model_validate(place.step.settings)
    outcome: StepResult | Park = action.run(settings, context)
    return outcome


def _context(place: _Place, results: Mapping[str, StepResult], step_log: StepLog, tools: Tools) -> Context:
    run, edge = place.run, tools.edge
    sources = run.job.sources
    return Context(
        run=run.id,
        epoch=run.epoch,
        index=place.index,
        job=run.job,
        folder=place.folder,
        checkout=lambda name, ref, commit, into: tools.workspace.checkout(
            sources[name], ref, commit, into, remaining_s=place.remaining_s()
        ),
        archive=lambda name, commit: tools.workspace.archive(sources[name], commit),
        docker=tools.docker,
        log=step_log,
        journal=RunJournal(edge.store, run, place.index, tools.now),
        images=images_of(results),
        labels=labels(run, tools),
        secret=edge.secrets.get,
        remaining_s=place.remaining_s,
        now=tools.now,
        aws=Aws(client=edge.client, store=edge.store, objects=edge.objects, region=edge.region),
    )


def labels(run: Run, tools: Tools) -> dict[str, str]:
    """What every Docker object of a run carries; see docs/records.md."""
    return {
        "tau.system": tools.edge.settings.system,
        "tau.run": run.id,
        "tau.epoch": str(run.epoch),
        "tau.runner": tools.runner,
        "tau.lock": run.job.lock,
    }


def _not_passed(
    place: _Place, status: StepStatus, started_at: datetime, ended_at: datetime, error: Exception
) -> StepResult:
    known = isinstance(error, TauError)
    reason = str(error) if known else f"{type(error).__name__}: {error}"
    failure = error if isinstance(error, StepFailed) else StepFailed("")
    lines = tuple(line[:_MOST_REASON] for line in failure.lines[:_MOST_LINES])
    # The record has a limit, and a run that cannot be ended is worse than a mail without its details.
    facts = failure.facts if len(wire.dumps(failure.facts)) <= _MOST_FACTS else {}
    return StepResult(place.step.action, status, started_at, ended_at, reason[:_MOST_REASON], lines, facts)


def _stopped(run: Run, outcome: StepResult, results: Mapping[str, StepResult], tools: Tools) -> Ended | Parked:
    """What follows a step that did not pass."""
    if outcome.status is StepStatus.FAILED:
        return Ended(RunState.FAILED, outcome.reason, _all(run, results, tools.now()))
    return _broken(run, outcome.reason, results, tools)


def _broken(run: Run, reason: str | None, results: Mapping[str, StepResult], tools: Tools) -> Ended | Parked:
    """The run's end after a failure of ours; the first one is tried once more instead."""
    now = tools.now()
    if not any(entry["kind"] == _RETRY for entry in run.journal):
        again_at = now + timedelta(seconds=tools.edge.settings.retry_s)
        again = Park(WaitingFor.RETRY, again_at, f"once more after: {reason}")
        return Parked(again, (_entry(run, _RETRY, -1),))
    return Ended(RunState.ERRORED, reason, _all(run, results, now))


def _entry(run: Run, kind: str, index: int) -> Mapping[str, Any]:
    return {"kind": kind, "step": index, "key": "", "epoch": run.epoch}


def _was_parked(run: Run, index: int) -> bool:
    return any(entry["kind"] == _PARKED and entry["step"] == index for entry in run.journal)


def _all(run: Run, results: Mapping[str, StepResult], now: datetime) -> tuple[StepResult, ...]:
    return tuple(
        results.get(str(index)) or StepResult(step.action, StepStatus.SKIPPED, now, now)
        for index, step in enumerate(run.job.steps)
    )
