"""A claimed run in, its steps enacted one after the other, an end or a parking out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from chalicelib import pinning, revalidating, superseding, wire
from chalicelib.edge import Edge
from chalicelib.errors import (
    DiskFull,
    Gone,
    LostClaim,
    NeedsAttention,
    NothingToDo,
    Outrun,
    StepErrored,
    StepFailed,
    TauError,
    Withdrawn,
)
from chalicelib.globs import matches
from chalicelib.graph import Base
from chalicelib.model import Run, RunState, Step, StepResult, StepStatus, WaitingFor
from chalicelib.reports.words import duration
from chalicelib.when import should_run, when_of
from runner import actions, images
from runner.building import Builder
from runner.classic import Classic
from runner.context import Aws, Context, Park
from runner.handed import Guard, Handed
from runner.journal import RunJournal
from runner.made import built, images_of, is_spared
from runner.operators import Operators
from runner.pace import Pace, Real
from runner.registry import Credentials, Registry
from runner.runlog import StepLog, step_prefix
from runner.since import Before
from runner.stopping import Stopped, Stopping, Why
from runner.storage import Storage
from runner.submodules import Submodules
from runner.workspace import Workspace

log = logging.getLogger("tau.run")

_MOST_REASON = 1000
_MOST_LINES = 20
_MOST_FACTS = 100_000
# Kinds of journal entries beside the actions' own intents.
_RETRY = "retry"
_PARKED = "parked"
# A fact of a step that must not be tried a second time.
_NO_RETRY = "needs_attention"


@dataclass(frozen=True)
class Tools:
    """What a runner has for every run.

    Args:
        docker: the engine's client.
        runner: this runner's id, for labels.
        action: a word of ci.yml -> what enacts it.
        registry: manifests of a registry; see `Context`.
        open_log: `open_log(objects, prefix, now, matcher, live=live)` -> the log of one step under one claim.
        operators: whose scripts this machine runs itself.
        storage: who keeps its disk.
        handed: every secret that this process was handed.
        builder: how images are built here.
        bases: see `Context`; a run that repeats no other has none.
        fetch: see `Aws`.
    """

    edge: Edge
    workspace: Workspace
    docker: Any
    runner: str
    pace: Pace = field(default_factory=Real)
    action: Callable[[str], ModuleType] = actions.find
    registry: Callable[[str, str, Credentials | None], Registry] = Registry
    open_log: Callable[..., StepLog] = StepLog
    operators: Operators = field(default_factory=Operators)
    storage: Storage = field(default_factory=Storage)
    handed: Handed = field(default_factory=Handed)
    builder: Builder = field(default_factory=Classic)
    bases: Mapping[str, tuple[Base, ...]] = field(default_factory=dict)
    fetch: Callable[[str], bytes] | None = None

    def now(self) -> datetime:
        return self.pace.now()


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


@dataclass(frozen=True)
class Replaced:
    """A newer run, `by`, takes this one's place.

    Args:
        for_good: it cannot go on, whatever becomes of the newer one.
    """

    by: str
    reason: str
    for_good: bool = False


@dataclass(frozen=True)
class Halted:
    """Stopped before the steps were done, because the record asks for it, or because this runner stops.

    Args:
        note: what the step that was interrupted has to say of it.
    """

    why: Why
    note: str = ""


Outcome = Ended | Parked | Replaced | Halted


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
    return _shown(_enacted(run, tools, stopping or Stopping(), _Watching(followed, guard)), guard)


@dataclass(frozen=True)
class _Watching:
    """Who reads along, and what nobody reads."""

    followed: Callable[[], bool]
    guard: Guard


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


def _enacted(run: Run, tools: Tools, stopping: Stopping, watching: _Watching) -> Outcome:
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


def _steps(run: Run, tools: Tools, stopping: Stopping, watching: _Watching) -> Ended | Parked:
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
            place = _Place(run, index, step, folder, deadline, tools.pace, logs, stopping, watching)
            outcome = _step(place, results, tools)
            if isinstance(outcome, Park):
                return Parked(outcome, () if _was_parked(run, index) else (_entry(run, _PARKED, index),))
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


@dataclass(frozen=True)
class _Place:
    """One step of one claim. `logs` waits for the logs that are still being stored when the claim ends."""

    run: Run
    index: int
    step: Step
    folder: Path
    deadline: float
    pace: Pace
    logs: ExitStack
    stopping: Stopping
    watching: _Watching

    def remaining_s(self) -> float:
        return self.deadline - self.pace.monotonic()


def _step(place: _Place, results: Mapping[str, StepResult], tools: Tools) -> StepResult | Park:
    run, index, guard = place.run, place.index, place.watching.guard
    # A run whose runner died is of interest to its last line.
    live = (lambda: True) if run.attempts else place.watching.followed
    prefix = step_prefix(run.id, run.epoch, index)
    step_log = tools.open_log(tools.edge.objects, prefix, tools.now, live=live, matcher=guard.matcher)
    place.logs.callback(step_log.close)
    if not _was_parked(run, index):
        step_log.line(f"{place.step.action} (step {index + 1} of {len(run.job.steps)})")
    outcome = _tried(place, results, step_log, tools)
    if step_log.printed:
        log.warning("secret printed", extra={"run": run.id, "step": index, "secrets": sorted(step_log.printed)})
    return outcome if isinstance(outcome, Park) else guard.result(outcome, step_log.printed)


def _tried(place: _Place, results: Mapping[str, StepResult], step_log: StepLog, tools: Tools) -> StepResult | Park:
    started_at = _began(place) or tools.now()
    try:
        with tools.storage.building(place.step.action, place.stopping):
            return _act(tools.action(place.step.action), place, _context(place, results, step_log, tools))
    except LostClaim:
        step_log.line("another runner has taken this run over; this one stops here")
        raise
    except Outrun as outrun:
        step_log.line(f"superseded: {outrun}")
        raise
    except Withdrawn as withdrawn:
        step_log.line(f"cancelled: {withdrawn}")
        raise
    except Stopped:
        step_log.line("stopped")
        raise
    except Exception as error:  # noqa: BLE001 - around one step: whatever breaks in it is ours, and ends no other run
        # Whatever broke in a step that was stopped broke by it.
        if place.stopping.why is not None:
            step_log.line("stopped")
        place.stopping.check()
        return _broke(place, step_log, started_at, error, tools)
    finally:
        step_log.finish()


def _began(place: _Place) -> datetime | None:
    """When a step that was parked in between, a deployment say, did its first deed; None = it begins now."""
    deeds = [entry["at"] for entry in place.run.journal if entry["step"] == place.index and "at" in entry]
    return wire.time_of(min(deeds)) if _was_parked(place.run, place.index) and deeds else None


def _broke(place: _Place, step_log: StepLog, started_at: datetime, error: Exception, tools: Tools) -> StepResult:
    if isinstance(error, NothingToDo):
        step_log.line(f"skipped: {error}")
        return _not_passed(place, StepStatus.SKIPPED, started_at, tools.now(), error)
    full = tools.storage.full(place.step.action, error)
    if full and not isinstance(error, NeedsAttention):
        step_log.line(str(error))
        error = DiskFull(full)
    if isinstance(error, StepFailed):
        step_log.line(f"failed: {error}")
        return _not_passed(place, StepStatus.FAILED, started_at, tools.now(), error)
    log.error("step broke", exc_info=error, extra={"run": place.run.id, "step": place.index})
    step_log.line(f"errored: {error}")
    return _not_passed(place, StepStatus.ERRORED, started_at, tools.now(), error)


def _act(action: ModuleType, place: _Place, context: Context) -> StepResult | Park:
    if place.remaining_s() <= 0:
        raise StepFailed(f"the run took longer than its {duration(place.run.job.timeout_s)}")
    outcome: StepResult | Park = action.run(_settings(action, place.step), context)
    return outcome


def _settings(action: ModuleType, step: Step) -> Any:
    try:
        return action.Settings.model_validate(step.settings)
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
            for one in error.errors(include_url=False, include_context=False, include_input=False)
        )
        raise StepErrored(
            f"settings of {step.action} that this program cannot read: {said} (is it older than the ci.yml?)"
        ) from error


def _context(place: _Place, results: Mapping[str, StepResult], step_log: StepLog, tools: Tools) -> Context:
    run, edge = place.run, tools.edge
    sources = run.job.sources
    return Context(
        run=run.id,
        epoch=run.epoch,
        index=place.index,
        job=run.job,
        folder=place.folder,
        checkout=_checkout(place, results, tools),
        archive=lambda name, commit: tools.workspace.archive(sources[name], commit),
        docker=tools.docker,
        log=step_log,
        journal=RunJournal(edge.store, run, place.index, tools.now),
        images=images_of(results),
        labels=labels(run, tools),
        secret=place.watching.guard.secret(edge.secrets.get, step_log.line),
        remaining_s=place.remaining_s,
        now=tools.now,
        aws=Aws(client=edge.client, store=edge.store, objects=edge.objects, region=edge.region, fetch=tools.fetch),
        builder=tools.builder,
        stopping=place.stopping,
        pace=tools.pace,
        registry=tools.registry,
        so_far=tuple(results[at] for at in sorted(results, key=int)),
        operators=tools.operators,
        before=lambda: _before(run, place.index, edge),
        ignored=lambda name, commit, rules: tools.workspace.ignored(sources[name], commit, rules),
        matcher=place.watching.guard.matcher,
        submodules=_submodules(place, tools),
        bases=tools.bases,
    )


def _checkout(
    place: _Place, results: Mapping[str, StepResult], tools: Tools
) -> Callable[[str, str, str | None, Path], str]:
    sources, event = place.run.job.sources, place.run.job.event

    def checkout(name: str, ref: str, commit: str | None, into: Path) -> str:
        try:
            return tools.workspace.checkout(
                sources[name], ref, commit, into, remaining_s=place.remaining_s(), stopping=place.stopping
            )
        except Gone as gone:
            # After its first step it has begun, and what ci.yml wants after a failure is to be done.
            if results or (name, ref, commit) != (place.run.job.source.name, event.ref or "HEAD", event.commit):
                raise
            raise Withdrawn(str(gone)) from gone

    return checkout


def _submodules(place: _Place, tools: Tools) -> Callable[[str, str, Path], Submodules | None]:
    job = place.run.job

    def lay(name: str, commit: str, into: Path) -> Submodules | None:
        # A stranger would choose which of our repositories he reads.
        if not job.submodules or job.event.fork:
            return None
        return tools.workspace.submodules(
            job.sources[name], commit, into, job.submodules, place.remaining_s(), stopping=place.stopping
        )

    return lay


def _before(run: Run, index: int, edge: Edge) -> Before | None:
    """The suite of a step as the last run before this one left it, of the same pipeline and ref."""
    for other in sorted(superseding.others_of(run, edge), key=lambda one: one.id, reverse=True):
        result = other.results.get(str(index))
        if other.id < run.id and other.job.pipeline == run.job.pipeline and result and "tests" in result.facts:
            return Before(other.id, other.job.event.commit, result.facts["tests"])
    return None


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
    # What is cut before its secrets are hidden may end in half of one.
    hidden = place.watching.guard.text
    reason = hidden(str(error) if known else f"{type(error).__name__}: {error}")
    said = error.lines if isinstance(error, StepFailed) else ()
    lines = tuple(hidden(line)[:_MOST_REASON] for line in said[:_MOST_LINES])
    facts = error.facts if isinstance(error, StepFailed | StepErrored) else {}
    # The record has a limit, and a run that cannot be ended is worse than a mail without its details.
    facts = facts if len(wire.dumps(facts)) <= _MOST_FACTS else {}
    if isinstance(error, NeedsAttention):
        facts = {**facts, _NO_RETRY: True}
    return StepResult(place.step.action, status, started_at, ended_at, reason[:_MOST_REASON], lines, facts)


def _stopped(run: Run, outcome: StepResult, results: Mapping[str, StepResult], tools: Tools) -> Ended | Parked:
    """What follows a step that did not pass."""
    if outcome.status is StepStatus.FAILED:
        return Ended(RunState.FAILED, outcome.reason, _all(run, results, tools.now()))
    if outcome.facts.get(_NO_RETRY):
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


def _was_parked(run: Run, index: int) -> bool:
    return any(entry["kind"] == _PARKED and entry["step"] == index for entry in run.journal)


def _all(run: Run, results: Mapping[str, StepResult], now: datetime) -> tuple[StepResult, ...]:
    return tuple(
        results.get(str(index)) or StepResult(step.action, StepStatus.SKIPPED, now, now)
        for index, step in enumerate(run.job.steps)
    )
