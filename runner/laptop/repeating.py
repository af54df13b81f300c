"""The record of a run in; what a machine needs to repeat it, and whether it ended the same there, out. Pure.

What a record holds of it: the job, the commit of each repository, and of each image that was built what it stood on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chalicelib import pinning
from chalicelib.errors import BadInput
from chalicelib.graph import Base
from chalicelib.model import Job, Run, RunState, Step, StepResult, StepStatus
from chalicelib.reports.words import clean, commit
from runner.made import built
from runner.outcome import Ended, Outcome

_VERDICTS = frozenset({RunState.PASSED, RunState.FAILED, RunState.ERRORED, RunState.SKIPPED})
_BROKEN = frozenset({StepStatus.FAILED, StepStatus.ERRORED})


@dataclass(frozen=True)
class Recorded:
    """What a record says of what a run was made of.

    Args:
        commits: by repository (`forge/owner/name`) and ref, which one it was.
        bases: by the image that was built, what its FROM lines meant.
        unknown: what the record does not say, a sentence each: it is taken as it is now.
    """

    job: Job
    commits: Mapping[tuple[str, str], str]
    bases: Mapping[str, tuple[Base, ...]]
    unknown: tuple[str, ...]


def recorded(run: Run) -> Recorded:
    """What its record says of it.

    Raises:
        BadInput: not even which commit it was of.
    """
    job = pinning.job_of(run)
    if job.event.commit is None:
        raise BadInput(
            f"run {run.id} is {run.state}, and its record does not say which commit it is of: it has not begun, or"
            f" never did. `tau run {job.pipeline}` runs the pipeline from a working copy"
        )
    commits = {(job.source.name, job.event.ref or "HEAD"): job.event.commit}
    bases = {image.name: image.bases for image in built(run.results).values()}
    unknown: list[str] = []
    for index, step in enumerate(job.steps):
        if step.action != "build":
            continue
        image = clean(str(step.settings["image"]))
        other = step.settings.get("from")
        if other:
            place = (str(other["repository"]), str(other.get("ref", "HEAD")))
            found = commits.get(place) or _commit(run, index, place[0])
            if found:
                commits[place] = found
            else:
                unknown.append(f"which commit of {clean(place[0])} {image} was built from: the newest is taken")
        if step.settings["image"] not in bases:
            unknown.append(f"on which images {image} stood, as no build of it passed there: the newest are taken")
    return Recorded(job, commits, bases, tuple(dict.fromkeys(unknown)))


def _commit(run: Run, index: int, repository: str) -> str | None:
    """Which commit of another repository a build took."""
    for entry in reversed(run.journal):
        if entry["step"] == index and entry["kind"] == "seen" and entry["key"] == f"source {repository}":
            return str(entry["commit"])
    result = run.results.get(str(index))
    found = result.facts.get("commits", {}).get(repository) if result else None
    return str(found) if found else None


def opening(what: Recorded, there: Run) -> Iterator[str]:
    """What is repeated, how that ended, and what nobody knows of it any more."""
    event = what.job.event
    of = f"{clean(what.job.source.name)} {commit(event.commit)}, as {clean(event.ref or 'the default branch')}"
    yield f"{clean(what.job.pipeline)}: {of}; run {there.id} once more, which {_came_to(there)} on the code server"
    for sentence in what.unknown:
        yield f"the record does not say {sentence}"


def _came_to(there: Run) -> str:
    if not there.ended:
        return f"is {there.state}"
    verb = "was " if there.state in {RunState.CANCELLED, RunState.SUPERSEDED, RunState.SKIPPED} else ""
    return f"{verb}{there.state}{f' ({clean(there.reason)})' if there.reason else ''}"


def compared(there: Run, outcome: Outcome, left_out: Iterable[Step]) -> Iterator[str]:
    """Whether it came to the same verdict as on the code server, and what was not the same on the way."""
    if not isinstance(outcome, Ended):
        return
    steps_there = [there.results[index] for index in sorted(there.results, key=int)]
    here, then = _words(outcome.state, outcome.steps), _words(there.state, steps_there)
    without = {step.action for step in left_out}
    broken = _broken(steps_there)
    if there.state not in _VERDICTS:
        yield f"the code server has no verdict to hold it against: run {there.id} is {there.state}"
    elif here == then:
        yield f"the same verdict as on the code server: {here}"
    elif broken and broken.action in without:
        yield f"{here}; on the code server it {then}, and that step was left out here"
    else:
        yield f"NOT the same verdict as on the code server: {here} here, {then} there"
    yield from _other_bases(there, outcome.steps)


def _words(state: RunState, steps: Sequence[StepResult]) -> str:
    broken = _broken(steps)
    return f"{state} in {broken.action}" if broken and state is not RunState.PASSED else str(state)


def _broken(steps: Sequence[StepResult]) -> StepResult | None:
    return next((step for step in steps if step.status in _BROKEN), None)


def _other_bases(there: Run, steps: Sequence[StepResult]) -> Iterator[str]:
    """The images that did not stand on the same as there."""
    then = {image.name: _digests(image.bases) for image in built(there.results).values()}
    for image in built({str(index): step for index, step in enumerate(steps)}).values():
        known = then.get(image.name, {})
        for name, digest in _digests(image.bases).items():
            if known.get(name, digest) != digest:
                yield f"{clean(image.name)} stood on another {clean(name)} there, which is not to be had any more"


def _digests(bases: Iterable[Base]) -> dict[str, str]:
    return {f"{base.registry}/{base.name}": base.digest for base in bases}
