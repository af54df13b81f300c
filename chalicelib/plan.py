"""An event and the pipelines in; jobs out, and for every pipeline why it does or does not answer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from chalicelib import pinning
from chalicelib.config import Config, Pipeline, TriggerKind
from chalicelib.errors import CannotFit
from chalicelib.fit import Sink, fill, placeholders, shown
from chalicelib.globs import capture, is_literal
from chalicelib.matching import COMMIT, HEADS, TAGS, No, Paths, a, answer, check_id, is_by_name, rebuilding
from chalicelib.model import Event, EventKind, Job, Json, Source, Step, Verdict
from chalicelib.releases import WORDS as RELEASE_WORDS
from chalicelib.releases import Release

OF_A_REPOSITORY = frozenset(
    {TriggerKind.PUSH, TriggerKind.BRANCH, TriggerKind.TAG, TriggerKind.PULL_REQUEST},
)
"""The triggers that a forge's events pull."""

# A person's own repositories are ~login's at a Bitbucket Data Center.
_REPOSITORY = re.compile(r"~?(?!\.\.?/)[A-Za-z0-9._][A-Za-z0-9._-]*/(?!\.\.?\Z)[A-Za-z0-9._][A-Za-z0-9._-]*", re.ASCII)


@dataclass(frozen=True)
class Plan:
    """What an event starts. A verdict for every pipeline, in the order of ci.yml."""

    jobs: tuple[Job, ...]
    verdicts: tuple[Verdict, ...]


def plan(event: Event, config: Config) -> Plan:
    """What an event starts; never an exception, whatever the event holds."""
    refused = _nothing_to_do(event)
    if refused is not None:
        return Plan((), tuple(Verdict(pipeline.name, matched=False, reason=refused) for pipeline in config.pipelines))
    jobs, verdicts = [], []
    for pipeline in config.pipelines:
        try:
            caught = _catch(event, pipeline)
            check_id(event, pipeline)
            reason, paths = answer(event, pipeline)
            jobs.append(_job(_to_build(event), pipeline, caught, config, paths))
        except (No, CannotFit) as error:
            verdicts.append(Verdict(pipeline.name, matched=False, reason=str(error)))
        else:
            verdicts.append(Verdict(pipeline.name, matched=True, reason=reason + _what_is_left_out(event, pipeline)))
    return Plan(tuple(jobs), tuple(verdicts))


def is_watched(forge: str, repository: str, config: Config) -> bool:
    """Whether any pipeline answers to what happens in this repository."""
    event = Event(forge, config.forges[forge].provider, "", EventKind.PUSH, repository)
    if _nothing_to_do(event):
        return False
    for pipeline in config.pipelines:
        with contextlib.suppress(No):
            _catch(event, pipeline)
            if pipeline.triggers.keys() & OF_A_REPOSITORY:
                return True
    return False


def is_elsewhere(verdict: Verdict) -> bool:
    """Whether the rule is about another repository: of no interest to who asks why this one's was not built."""
    return verdict.reason.startswith("repository ") and not verdict.reason.endswith(" is excepted")


def _nothing_to_do(event: Event) -> str | None:
    """Why no pipeline at all can answer; None where one might."""
    if event.kind is EventKind.IGNORED:
        return event.reason or "the event is ignored"
    if event.image and f"{event.image.name}:{event.image.tag}" in event.image.chain:
        return f"it goes round in a circle: {' -> '.join((*event.image.chain, event.name or ''))}"
    if event.kind is EventKind.IMAGE and event.repository is None:
        return None
    if event.repository is None:
        return f"{a(event)} names no repository"
    if not _REPOSITORY.fullmatch(event.repository):
        return f'"{shown(event.repository)}" is no name of a repository'
    return None


def _catch(event: Event, pipeline: Pipeline) -> Mapping[str, str]:
    """What the captures of the pipeline's repository caught.

    Raises:
        No: it is about another repository, or for another pipeline.
    """
    if is_by_name(event) and event.pipeline != pipeline.name:
        raise No(f"{a(event)} of {event.pipeline}, not of this pipeline")
    forge, _, pattern = pipeline.repository.partition("/")
    if event.kind is EventKind.IMAGE and event.repository is None:
        return {}
    name = event.repository or ""
    caught: dict[str, str] | None = None
    if forge.lower() == event.forge.lower():
        same = pattern.lower() == name.lower()
        caught = {} if same else None if is_literal(pattern) else capture(pattern, name)
    if caught is None:
        raise No(f"repository {shown(event.forge)}/{name} is not {pipeline.repository}")
    spellings = {name.lower(), name.lower().partition("/")[2]}
    if any(other.lower() in spellings for other in pipeline.except_):
        raise No(f"repository {event.forge}/{name} is excepted")
    return {word: pipeline.map.get(text, text) for word, text in caught.items()}


def _to_build(event: Event) -> Event:
    """The event as a run checks it out: a pull request's branch at its head, and no list that only planning needs."""
    event, pull = replace(event, files=None), event.pull
    if event.kind is not EventKind.PULL_REQUEST or pull is None:
        return event
    # Bitbucket tells a part of the hash: then the branch's tip is built.
    commit = pull.head if pull.head and COMMIT.fullmatch(pull.head) else None
    return replace(event, ref=f"{HEADS}{pull.branch}", name=pull.branch, commit=commit)


def _job(event: Event, pipeline: Pipeline, caught: Mapping[str, str], config: Config, paths: Paths) -> Job:
    forge, _, pattern = pipeline.repository.partition("/")
    # Addresses come from ci.yml: its own spelling, and what the forge calls it only where a pattern caught it.
    repository = pattern if is_literal(pattern) else event.repository or ""
    source = config.forges[forge].source(repository)
    ref = event.ref or ""
    values = {**_values(event, pipeline.name, repository), **caught}
    # What is known only once it was checked out is filled in by the run.
    fill_in = fill if event.commit else pinning.left_open
    lock = _resolved(pipeline.lock, values, ref) or f"{pipeline.name}/{forge}/{repository}/{event.line}"
    steps = rebuilding(pipeline.steps) if event.image and event.pipeline else pipeline.steps
    return Job(
        pipeline=pipeline.name,
        event=event,
        steps=tuple(Step(step.action, _resolved(step.settings, values, ref, fill_in)) for step in steps),
        source=source,
        sources=_sources(event, pipeline, source, config),
        registries=config.registries,
        lock=lock,
        notify=pipeline.notify,
        operators=config.operators,
        config=config.hash,
        pool=pipeline.pool,
        timeout_s=pipeline.timeout_s,
        supersede=pipeline.supersede,
        paths=paths,
        announces=_is_heard(pipeline, event, config),
        rebuild=pipeline.rebuild,
        submodules=tuple(
            config.forges[forge].sources(names)
            for forge, _, names in (one.partition("/") for one in pipeline.submodules)
        ),
    )


def _is_heard(pipeline: Pipeline, event: Event, config: Config) -> bool:
    """Whether somebody may answer to the images that a job pushes."""
    if pipeline.rebuild or (event.image and event.image.rebuild):
        return True
    return any(TriggerKind.IMAGE in other.triggers for other in config.pipelines)


def _release(event: Event) -> Release | None:
    return Release.of(event.name or "") if (event.ref or "").startswith(TAGS) else None


def _left_out(part: Json, values: Mapping[str, str], ref: str) -> bool:
    """Whether one of several texts is only for releases, and this tag is none."""
    if not (isinstance(part, dict) and part.keys() == {"template", "sink"} and ref.startswith(TAGS)):
        return False
    return any(one.name in RELEASE_WORDS and one.name not in values for one in placeholders(part["template"]))


def _what_is_left_out(event: Event, pipeline: Pipeline) -> str:
    """Which texts of the steps a tag has no value for, since it is no release."""
    ref = event.ref or ""
    if not ref.startswith(TAGS) or _release(event):
        return ""
    lists = (value for step in pipeline.steps for value in step.settings.values() if isinstance(value, list))
    left = dict.fromkeys(part["template"] for one in lists for part in one if _left_out(part, {}, ref))
    return f"; it is no release: {', '.join(left)} are left out" if left else ""


def _values(event: Event, pipeline: str, repository: str) -> dict[str, str]:
    """The closed list of placeholders, as far as the event has values for them."""
    values = {"repository": repository, "pipeline": pipeline}
    if event.ref and event.ref.startswith((HEADS, TAGS)):
        values["tag" if event.ref.startswith(TAGS) else "branch"] = event.name or ""
    release = _release(event)
    if release:
        values |= release.values
    if event.commit:
        values |= pinning.values(event.commit)
    return values


def _sources(event: Event, pipeline: Pipeline, own: Source, config: Config) -> dict[str, Source]:
    """Every repository of the steps as they spell it; the triggering one as the event and as ci.yml spell it."""
    sources = {f"{own.forge}/{own.repository}": own}
    if event.repository is not None:
        sources[f"{event.forge}/{event.repository}"] = own
    for key in pipeline.sources:
        forge, _, repository = key.partition("/")
        sources[key] = config.forges[forge].source(repository)
    return sources


def _resolved(
    value: Json,
    values: Mapping[str, str],
    ref: str,
    fill_in: Callable[[str, Sink, Mapping[str, str], str], Json] = fill,
) -> Json:
    """Settings with every `{"template": …, "sink": …}` filled in.

    Raises:
        CannotFit: a sink cannot hold what came out.
    """
    if isinstance(value, dict):
        if len(value) == 2 and "template" in value and "sink" in value:  # noqa: PLR2004  # the compiler's mark
            return fill_in(value["template"], Sink(value["sink"]), values, ref)
        return {key: _resolved(part, values, ref, fill_in) for key, part in value.items()}
    if isinstance(value, list):
        return [_resolved(part, values, ref, fill_in) for part in value if not _left_out(part, values, ref)]
    return value
