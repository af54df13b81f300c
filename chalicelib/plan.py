"""An event and the pipelines in; jobs out, and for every pipeline why it does or does not answer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib.config import Config, Pipeline
from chalicelib.errors import CannotFit
from chalicelib.fit import Sink, fill, shown
from chalicelib.globs import capture, is_literal, matches
from chalicelib.model import Event, EventKind, Job, Json, Source, Step, Verdict

# A branch that is created is pushed to as well; what is deleted never runs anything.
_TRIGGER: Mapping[EventKind, str] = {
    EventKind.PUSH: "push",
    EventKind.BRANCH_CREATED: "push",
    EventKind.TAG_CREATED: "tag",
}
_REF = {"push": "refs/heads/", "tag": "refs/tags/"}
_WORD = {"push": "branch", "tag": "tag"}

_REPOSITORY = re.compile(r"(?!\.\.?/)[A-Za-z0-9._][A-Za-z0-9._-]*/(?!\.\.?\Z)[A-Za-z0-9._][A-Za-z0-9._-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


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
            reason = _answer(event, pipeline)
            jobs.append(_job(event, pipeline, caught, config))
        except (_No, CannotFit) as error:
            verdicts.append(Verdict(pipeline.name, matched=False, reason=str(error)))
        else:
            verdicts.append(Verdict(pipeline.name, matched=True, reason=reason))
    return Plan(tuple(jobs), tuple(verdicts))


def is_watched(forge: str, repository: str, config: Config) -> bool:
    """Whether any pipeline is about this repository, whatever it answers to."""
    event = Event(forge, config.forges[forge].provider, "", EventKind.PUSH, repository)
    if _nothing_to_do(event):
        return False
    for pipeline in config.pipelines:
        with contextlib.suppress(_No):
            _catch(event, pipeline)
            return True
    return False


class _No(Exception):
    """This pipeline does not answer, and why."""


def _nothing_to_do(event: Event) -> str | None:
    """Why no pipeline at all can answer; None where one might."""
    if event.kind is EventKind.IGNORED:
        return event.reason or "the event is ignored"
    if event.repository is None:
        return f"{_a(event)} names no repository"
    if not _REPOSITORY.fullmatch(event.repository):
        return f'"{shown(event.repository)}" is no name of a repository'
    return None


def _catch(event: Event, pipeline: Pipeline) -> Mapping[str, str]:
    """What the captures of the pipeline's repository caught.

    Raises:
        _No: it is about another repository.
    """
    forge, _, pattern = pipeline.repository.partition("/")
    name = event.repository or ""
    caught: dict[str, str] | None = None
    if forge.lower() == event.forge.lower():
        same = pattern.lower() == name.lower()
        caught = {} if same else None if is_literal(pattern) else capture(pattern, name)
    if caught is None:
        raise _No(f"repository {shown(event.forge)}/{name} is not {pipeline.repository}")
    spellings = {name.lower(), name.lower().partition("/")[2]}
    if any(other.lower() in spellings for other in pipeline.except_):
        raise _No(f"repository {event.forge}/{name} is excepted")
    return {word: pipeline.map.get(text, text) for word, text in caught.items()}


def _answer(event: Event, pipeline: Pipeline) -> str:
    """Why the pipeline answers.

    Raises:
        _No: it does not, and why.
    """
    kind = _TRIGGER.get(event.kind)
    if kind is None:
        raise _No(f"{_a(event)} starts nothing")
    globs = pipeline.triggers.get(kind)
    if globs is None:
        raise _No(f"a {_WORD[kind]}, and this pipeline answers to: {', '.join(sorted(pipeline.triggers))}")
    name = event.name or ""
    if event.ref != _REF[kind] + name:
        raise _No(f'"{shown(event.ref or "")}" is no {_WORD[kind]}')
    found = next((glob for glob in globs if matches(glob, name)), None)
    if found is None:
        raise _No(f'{_WORD[kind]} "{shown(name)}" matches none of: {", ".join(globs)}')
    if event.commit is None:
        raise _No("nothing to build: the event has no commit")
    if not _COMMIT.fullmatch(event.commit):
        raise _No(f'nothing to build: "{shown(event.commit)}" is no commit')
    return f'{_WORD[kind]} "{shown(name)}" matches {found}'


def _job(event: Event, pipeline: Pipeline, caught: Mapping[str, str], config: Config) -> Job:
    forge, _, pattern = pipeline.repository.partition("/")
    # Addresses come from ci.yml: its own spelling, and what the forge calls it only where a pattern caught it.
    repository = pattern if is_literal(pattern) else event.repository or ""
    source = config.forges[forge].source(repository)
    ref = event.ref or ""
    values = {**_values(event, pipeline.name, repository), **caught}
    lock = _resolved(pipeline.lock, values, ref) or f"{pipeline.name}/{forge}/{repository}/{ref}"
    return Job(
        pipeline=pipeline.name,
        event=event,
        steps=tuple(Step(step.action, _resolved(step.settings, values, ref)) for step in pipeline.steps),
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
    )


def _values(event: Event, pipeline: str, repository: str) -> dict[str, str]:
    """The closed list of placeholders, as far as the event has values for them."""
    commit = event.commit or ""
    return {
        _WORD[_TRIGGER[event.kind]]: event.name or "",
        "commit": commit,
        "commit7": commit[:7],
        "repository": repository,
        "pipeline": pipeline,
    }


def _sources(event: Event, pipeline: Pipeline, own: Source, config: Config) -> dict[str, Source]:
    """Every repository of the steps as they spell it; the triggering one as the event and as ci.yml spell it."""
    sources = {f"{event.forge}/{event.repository}": own, f"{own.forge}/{own.repository}": own}
    for key in pipeline.sources:
        forge, _, repository = key.partition("/")
        sources[key] = config.forges[forge].source(repository)
    return sources


def _resolved(value: Json, values: Mapping[str, str], ref: str) -> Json:
    """Settings with every `{"template": …, "sink": …}` filled in.

    Raises:
        CannotFit: a sink cannot hold what came out.
    """
    if isinstance(value, dict):
        if len(value) == 2 and "template" in value and "sink" in value:  # noqa: PLR2004  # the compiler's mark
            return fill(value["template"], Sink(value["sink"]), values, ref)
        return {key: _resolved(part, values, ref) for key, part in value.items()}
    if isinstance(value, list):
        return [_resolved(part, values, ref) for part in value]
    return value


def _a(event: Event) -> str:
    """The event in words: `a deleted branch`."""
    words = {
        EventKind.PUSH: "a push",
        EventKind.BRANCH_CREATED: "a new branch",
        EventKind.BRANCH_DELETED: "a deleted branch",
        EventKind.TAG_CREATED: "a tag",
        EventKind.TAG_DELETED: "a deleted tag",
        EventKind.PULL_REQUEST: "a pull request",
        EventKind.IMAGE: "an image",
        EventKind.MANUAL: "a start by hand",
    }
    return words.get(event.kind, f"a {event.kind}")
