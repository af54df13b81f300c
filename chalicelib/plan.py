"""An event and the pipelines in; jobs out, and for every pipeline why it does or does not answer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from chalicelib import pinning
from chalicelib.config import Config, Pipeline, Trigger, TriggerKind
from chalicelib.errors import CannotFit
from chalicelib.fit import Sink, fill, shown
from chalicelib.globs import capture, is_literal, matches
from chalicelib.model import Event, EventKind, Job, Json, Source, Step, Verdict

# A branch that is created is pushed to as well.
_ANSWERING: Mapping[EventKind, tuple[TriggerKind, ...]] = {
    EventKind.PUSH: (TriggerKind.PUSH, TriggerKind.BRANCH),
    EventKind.BRANCH_CREATED: (TriggerKind.PUSH, TriggerKind.BRANCH),
    EventKind.BRANCH_DELETED: (TriggerKind.BRANCH,),
    EventKind.TAG_CREATED: (TriggerKind.TAG,),
    EventKind.PULL_REQUEST: (TriggerKind.PULL_REQUEST,),
    EventKind.IMAGE: (TriggerKind.IMAGE,),
    EventKind.SCHEDULE: (TriggerKind.SCHEDULE,),
    # Whatever it answers to by itself, a person may start it.
    EventKind.MANUAL: tuple(TriggerKind),
}
_BY_NAME = frozenset({EventKind.SCHEDULE, EventKind.MANUAL})
_HEADS, _TAGS = "refs/heads/", "refs/tags/"
_REFS = {
    EventKind.PUSH: _HEADS,
    EventKind.BRANCH_CREATED: _HEADS,
    EventKind.BRANCH_DELETED: _HEADS,
    EventKind.TAG_CREATED: _TAGS,
}
OF_A_REPOSITORY = frozenset(
    {TriggerKind.PUSH, TriggerKind.BRANCH, TriggerKind.TAG, TriggerKind.PULL_REQUEST},
)
"""The triggers that a forge's events pull."""

_REPOSITORY = re.compile(r"(?!\.\.?/)[A-Za-z0-9._][A-Za-z0-9._-]*/(?!\.\.?\Z)[A-Za-z0-9._][A-Za-z0-9._-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True)
class Plan:
    """What an event starts. A verdict for every pipeline, in the order of ci.yml."""

    jobs: tuple[Job, ...]
    verdicts: tuple[Verdict, ...]


_WORD = {
    **dict.fromkeys((EventKind.PUSH, EventKind.BRANCH_CREATED, EventKind.BRANCH_DELETED), "branch"),
    EventKind.TAG_CREATED: "tag",
    EventKind.IMAGE: "image",
    EventKind.PULL_REQUEST: "a pull request into",
}


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
            jobs.append(_job(_to_build(event), pipeline, caught, config))
        except (_No, CannotFit) as error:
            verdicts.append(Verdict(pipeline.name, matched=False, reason=str(error)))
        else:
            verdicts.append(Verdict(pipeline.name, matched=True, reason=reason))
    return Plan(tuple(jobs), tuple(verdicts))


def is_watched(forge: str, repository: str, config: Config) -> bool:
    """Whether any pipeline answers to what happens in this repository."""
    event = Event(forge, config.forges[forge].provider, "", EventKind.PUSH, repository)
    if _nothing_to_do(event):
        return False
    for pipeline in config.pipelines:
        with contextlib.suppress(_No):
            _catch(event, pipeline)
            if pipeline.triggers.keys() & OF_A_REPOSITORY:
                return True
    return False


def is_elsewhere(verdict: Verdict) -> bool:
    """Whether the rule is about another repository: of no interest to who asks why this one's was not built."""
    return verdict.reason.startswith("repository ") and not verdict.reason.endswith(" is excepted")


class _No(Exception):
    """This pipeline does not answer, and why."""


def _nothing_to_do(event: Event) -> str | None:
    """Why no pipeline at all can answer; None where one might."""
    if event.kind is EventKind.IGNORED:
        return event.reason or "the event is ignored"
    if event.kind is EventKind.IMAGE:
        return None
    if event.repository is None:
        return f"{_a(event)} names no repository"
    if not _REPOSITORY.fullmatch(event.repository):
        return f'"{shown(event.repository)}" is no name of a repository'
    return None


def _catch(event: Event, pipeline: Pipeline) -> Mapping[str, str]:
    """What the captures of the pipeline's repository caught.

    Raises:
        _No: it is about another repository, or for another pipeline.
    """
    if event.kind is EventKind.IMAGE:
        return {}
    if event.kind in _BY_NAME and event.pipeline != pipeline.name:
        raise _No(f"{_a(event)} of {event.pipeline}, not of this pipeline")
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
    kinds = _ANSWERING.get(event.kind)
    if kinds is None:
        raise _No(f"{_a(event)} starts nothing")
    pulled = [pipeline.triggers[kind] for kind in kinds if kind in pipeline.triggers]
    if not pulled:
        raise _No(f"{_a(event)}, and this pipeline answers to: {', '.join(sorted(pipeline.triggers))}")
    _check_ref(event)
    if event.kind is EventKind.PULL_REQUEST and event.fork:
        raise _No("it comes from a fork, and nothing of a fork is built")
    if event.kind in _BY_NAME:
        return f"{_a(event)} of this pipeline"
    if event.kind is EventKind.BRANCH_DELETED:
        raise _No(f"{_a(event)}, and no step of this pipeline leaves anything behind that would have to go")
    reason = _matched(event, pulled)
    _check_commit(event)
    return reason


def _check_ref(event: Event) -> None:
    """A branch's event is about a branch, and a tag's about a tag."""
    prefix = _REFS.get(event.kind)
    if prefix is not None and event.ref != prefix + (event.name or ""):
        raise _No(f'"{shown(event.ref or "")}" is no {_WORD[event.kind]}')


def _matched(event: Event, triggers: Sequence[Trigger]) -> str:
    """Which glob of one of the triggers the event's name matches."""
    name = (event.pull.target if event.pull else event.name) or ""
    what = f'{_WORD[event.kind]} "{shown(name)}"'
    no = ""
    for trigger in triggers:
        found = next((glob for glob in trigger.names if matches(glob, name)), None)
        excepted = next((glob for glob in trigger.except_ if matches(glob, name)), None)
        if found is not None and excepted is None:
            return f"{what} matches {found}"
        if found is not None:
            no = f"{what} is excepted by {excepted}"
    names = dict.fromkeys(glob for trigger in triggers for glob in trigger.names)
    raise _No(no or f"{what} matches none of: {', '.join(names)}")


def _check_commit(event: Event) -> None:
    """It says what to build; of an image's event the steps say it."""
    if event.kind is EventKind.IMAGE:
        return
    if event.kind is EventKind.PULL_REQUEST:
        if event.pull is None or event.pull.head is None:
            raise _No("nothing to build: it is not open")
        if event.pull.branch is None:
            raise _No("nothing to build: the payload does not say which branch it brings")
        return
    if event.commit is None:
        raise _No("nothing to build: the event has no commit")
    if not _COMMIT.fullmatch(event.commit):
        raise _No(f'nothing to build: "{shown(event.commit)}" is no commit')


def _to_build(event: Event) -> Event:
    """The event as a run checks it out: a pull request's branch at its head."""
    pull = event.pull
    if event.kind is not EventKind.PULL_REQUEST or pull is None:
        return event
    # Bitbucket tells a part of the hash: then the branch's tip is built.
    commit = pull.head if pull.head and _COMMIT.fullmatch(pull.head) else None
    return replace(event, ref=f"{_HEADS}{pull.branch}", name=pull.branch, commit=commit)


def _job(event: Event, pipeline: Pipeline, caught: Mapping[str, str], config: Config) -> Job:
    forge, _, pattern = pipeline.repository.partition("/")
    # Addresses come from ci.yml: its own spelling, and what the forge calls it only where a pattern caught it.
    repository = pattern if is_literal(pattern) else event.repository or ""
    source = config.forges[forge].source(repository)
    ref = event.ref or ""
    values = {**_values(event, pipeline.name, repository), **caught}
    # What is known only once it was checked out is filled in by the run.
    fill_in = fill if event.commit else pinning.left_open
    lock = _resolved(pipeline.lock, values, ref) or f"{pipeline.name}/{forge}/{repository}/{event.line}"
    return Job(
        pipeline=pipeline.name,
        event=event,
        steps=tuple(Step(step.action, _resolved(step.settings, values, ref, fill_in)) for step in pipeline.steps),
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
    values = {"repository": repository, "pipeline": pipeline}
    if event.ref and event.ref.startswith((_HEADS, _TAGS)):
        values["tag" if event.ref.startswith(_TAGS) else "branch"] = event.name or ""
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
        return [_resolved(part, values, ref, fill_in) for part in value]
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
        EventKind.SCHEDULE: "a scheduled start",
        EventKind.MANUAL: "a start by hand",
    }
    return words.get(event.kind, f"a {event.kind}")
