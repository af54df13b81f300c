"""One step of a claimed run in, enacted by its action; what came of it out, or until when it waits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from chalicelib import superseding, wire
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
from chalicelib.model import Run, Step, StepResult, StepStatus
from chalicelib.reports.words import duration
from runner.context import Aws, Context, Park
from runner.handed import Guard
from runner.journal import RunJournal
from runner.made import images_of
from runner.pace import Pace
from runner.runlog import StepLog, step_prefix
from runner.since import Before
from runner.stopping import Stopped, Stopping
from runner.submodules import Submodules
from runner.tools import Tools

log = logging.getLogger("tau.run")

# The kind of a journal's entry that says that a step waits.
PARKED = "parked"
# A fact of a step that must not be tried a second time.
NO_RETRY = "needs_attention"

_MOST_REASON = 1000
_MOST_LINES = 20
_MOST_FACTS = 100_000


@dataclass(frozen=True)
class Watching:
    """Who reads along, and what nobody reads."""

    followed: Callable[[], bool]
    guard: Guard


@dataclass(frozen=True)
class Place:
    """One step of one claim. `logs` waits for the logs that are still being stored when the claim ends."""

    run: Run
    index: int
    step: Step
    folder: Path
    deadline: float
    pace: Pace
    logs: ExitStack
    stopping: Stopping
    watching: Watching

    def remaining_s(self) -> float:
        """Seconds until the run has taken as long as it may; below zero afterwards."""
        return self.deadline - self.pace.monotonic()


def take(place: Place, results: Mapping[str, StepResult], tools: Tools) -> StepResult | Park:
    """Enact a step, its log written as it goes.

    Args:
        results: by index, what came of the steps before it.

    Raises:
        LostClaim: another epoch holds the run.
        Stopped: asked to stop, and what was under way is gone.
        Outrun, Withdrawn: the run has nothing to do any more.
    """
    run, index, guard = place.run, place.index, place.watching.guard
    # A run whose runner died is of interest to its last line.
    live = (lambda: True) if run.attempts else place.watching.followed
    prefix = step_prefix(run.id, run.epoch, index)
    step_log = tools.open_log(tools.edge.objects, prefix, tools.now, live=live, matcher=guard.matcher)
    place.logs.callback(step_log.close)
    if not was_parked(run, index):
        step_log.line(f"{place.step.action} (step {index + 1} of {len(run.job.steps)})")
    outcome = _tried(place, results, step_log, tools)
    if step_log.printed:
        log.warning("secret printed", extra={"run": run.id, "step": index, "secrets": sorted(step_log.printed)})
    return outcome if isinstance(outcome, Park) else guard.result(outcome, step_log.printed)


def _tried(place: Place, results: Mapping[str, StepResult], step_log: StepLog, tools: Tools) -> StepResult | Park:
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


def _began(place: Place) -> datetime | None:
    """When a step that was parked in between, a deployment say, did its first deed; None = it begins now."""
    deeds = [entry["at"] for entry in place.run.journal if entry["step"] == place.index and "at" in entry]
    return wire.time_of(min(deeds)) if was_parked(place.run, place.index) and deeds else None


def _broke(place: Place, step_log: StepLog, started_at: datetime, error: Exception, tools: Tools) -> StepResult:
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


def _act(action: ModuleType, place: Place, context: Context) -> StepResult | Park:
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


def _context(place: Place, results: Mapping[str, StepResult], step_log: StepLog, tools: Tools) -> Context:
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
    place: Place, results: Mapping[str, StepResult], tools: Tools
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


def _submodules(place: Place, tools: Tools) -> Callable[[str, str, Path], Submodules | None]:
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
    place: Place, status: StepStatus, started_at: datetime, ended_at: datetime, error: Exception
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
        facts = {**facts, NO_RETRY: True}
    return StepResult(place.step.action, status, started_at, ended_at, reason[:_MOST_REASON], lines, facts)


def was_parked(run: Run, index: int) -> bool:
    """Whether a step has waited before, and goes on."""
    return any(entry["kind"] == PARKED and entry["step"] == index for entry in run.journal)
