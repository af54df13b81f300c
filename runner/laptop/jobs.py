"""A pipeline of ci.yml and what somebody wants of it in; the job that this machine enacts out: pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from chalicelib import plan, starts
from chalicelib.config import Config
from chalicelib.errors import BadInput
from chalicelib.model import Job, Pusher, Step
from chalicelib.starting import Wish, pipeline_named, repository_of

EFFECTS = {"push": "to", "tag": "to", "script": "run", "deploy_eb": "environment"}
"""The actions that others see something of, and the setting that says what."""
ON_REQUEST = ("push", "tag", "script")
"""Those of them that may be had from here; the others take their turn with the runs of an installation."""


@dataclass(frozen=True)
class Trimmed:
    """A job without the steps that nobody asked for, and these."""

    job: Job
    left_out: tuple[Step, ...]


def planned(wish: Wish, config: Config, where: str, nonce: str) -> Job:
    """The job as `tau trigger` would start it; which commit it builds is left open.

    Args:
        where: what the ci.yml is called in a complaint.

    Raises:
        NotThere: no such pipeline.
        CannotStart: it is of several repositories, and the wish names none.
        BadInput: a placeholder has no value, or the repository is none of the pipeline's.
    """
    pipeline = pipeline_named(wish.pipeline, config, where)
    repository = repository_of(wish, pipeline)
    ref = starts.full_ref(wish.ref)
    event = starts.started(pipeline, repository, ref, config, nonce=nonce, by=Pusher(login=wish.by))
    answer = plan.plan(event, config)
    if not answer.jobs:
        reason = next(verdict.reason for verdict in answer.verdicts if verdict.pipeline == pipeline.name)
        raise BadInput(f"{pipeline.name} cannot run like this: {reason} (--ref and --repository say what it is of)")
    return answer.jobs[0]


def trimmed(job: Job, wanted: Iterable[str]) -> Trimmed:
    """The job with no effects but those that are wanted; nobody is told of its end."""
    wanted = frozenset(wanted)
    kept = tuple(step for step in job.steps if step.action not in EFFECTS or step.action in wanted)
    left = tuple(step for step in job.steps if step not in kept)
    return Trimmed(replace(job, steps=kept, operators=(), announces=False, paths=()), left)


def left_out(step: Step) -> str:
    """A step that is left out, and how it is had all the same."""
    target = step.settings.get(EFFECTS[step.action])
    shown = " ".join(str(one) for one in target) if isinstance(target, list | tuple) else str(target)
    how = f"--with {step.action} does it" if step.action in ON_REQUEST else "`tau trigger` does it, on a code server"
    return f"left out: {step.action} ({shown}); {how}"


def others(job: Job) -> Mapping[str, frozenset[str]]:
    """The repositories beside its own that a job builds from, and the refs of each."""
    found: dict[str, frozenset[str]] = {}
    for name, ref in _named(job):
        if name != job.source.name:
            found[name] = found.get(name, frozenset()) | {ref}
    return found


def own_refs(job: Job) -> frozenset[str]:
    """The refs on which its own repository's commit has to lie."""
    return frozenset({job.event.ref or "HEAD", *(ref for name, ref in _named(job) if name == job.source.name)})


def repositories(job: Job) -> Mapping[str, frozenset[str]]:
    """All that a job is built from, its own repository too, and the refs of each."""
    return {job.source.name: own_refs(job), **others(job)}


def at(job: Job, addresses: Mapping[str, str]) -> Job:
    """The job with its repositories fetched from elsewhere, without a key."""
    sources = {
        name: replace(source, clone=addresses[source.name], key=None) if source.name in addresses else source
        for name, source in job.sources.items()
    }
    own = sources[job.source.name]
    submodules = tuple(replace(one, key=None) for one in job.submodules)
    return replace(job, source=own, sources=sources, submodules=submodules)


def secrets(job: Job) -> frozenset[str]:
    """The names of all secrets without which a step cannot do its work."""
    givers = [giver for step in job.steps for giver in (step.settings, *step.settings.get("services", {}).values())]
    named = {name for giver in givers for name in giver.get("secrets", {}).values()}
    pushed = {host for step in job.steps if step.action in {"push", "tag"} for host in step.settings["to"]}
    return frozenset(named | {name for host in pushed if (name := job.registries.get(host))})


def readable(job: Job, has: Callable[[str], bool]) -> Job:
    """The job that asks registries without a login whose secret is not there: what anybody may pull it still gets."""
    known = {host: name if name and has(name) else None for host, name in job.registries.items()}
    return replace(job, registries=known)


def _named(job: Job) -> Iterator[tuple[str, str]]:
    for step in job.steps:
        other = step.settings.get("from") if step.action == "build" else None
        if other:
            yield other["repository"], other.get("ref", "HEAD")
