"""An event and a pipeline of its repository in; whether the pipeline answers, and why, out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from chalicelib.config import Pipeline, Trigger, TriggerKind
from chalicelib.fit import shown
from chalicelib.globs import is_literal, matches
from chalicelib.model import Event, EventKind, Step

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
BY_NAME = frozenset({EventKind.SCHEDULE, EventKind.MANUAL})
HEADS, TAGS = "refs/heads/", "refs/tags/"
_REFS = {
    EventKind.PUSH: HEADS,
    EventKind.BRANCH_CREATED: HEADS,
    EventKind.BRANCH_DELETED: HEADS,
    EventKind.TAG_CREATED: TAGS,
}
COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_WORD = {
    **dict.fromkeys((EventKind.PUSH, EventKind.BRANCH_CREATED, EventKind.BRANCH_DELETED), "branch"),
    EventKind.TAG_CREATED: "tag",
    EventKind.IMAGE: "image",
    EventKind.PULL_REQUEST: "a pull request into",
}

Paths = tuple[str, ...]


class No(Exception):
    """This pipeline does not answer, and why."""


def answer(event: Event, pipeline: Pipeline) -> tuple[str, Paths]:
    """Why the pipeline answers; and the globs of which one must match a changed file, where only the run can see that.

    Raises:
        No: it does not, and why.
    """
    kinds = _ANSWERING.get(event.kind)
    if kinds is None:
        raise No(f"{a(event)} starts nothing")
    if event.image and event.pipeline:
        return _again(event, pipeline), ()
    pulled = [pipeline.triggers[kind] for kind in kinds if kind in pipeline.triggers]
    if not pulled:
        raise No(f"{a(event)}, and this pipeline answers to: {', '.join(sorted(pipeline.triggers))}")
    _check_ref(event)
    if event.kind is EventKind.PULL_REQUEST and event.fork:
        raise No("it comes from a fork, and nothing of a fork is built")
    if event.kind in BY_NAME:
        return f"{a(event)} of this pipeline", ()
    if event.kind is EventKind.BRANCH_DELETED:
        raise No(f"{a(event)}, and no step of this pipeline leaves anything behind that would have to go")
    found = _matched(event, pulled)
    if event.repository is None and not is_literal(pipeline.repository):
        raise No(f"an image does not say which repository {pipeline.repository} is")
    _check_commit(event)
    return found


def is_by_name(event: Event) -> bool:
    """Whether it is for one pipeline alone."""
    return event.kind in BY_NAME or event.pipeline is not None


def _again(event: Event, pipeline: Pipeline) -> str:
    """Why its own image is built again."""
    if not rebuilding(pipeline.steps):
        raise No("it pushes no image that could be built again")
    image = event.image
    return f'its image stands on "{image.name}:{image.tag}", and is built again' if image else ""


def rebuilding(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps that build an image again: up to the last push. Nothing goes live that nobody asked for.

    Nor is an image of this commit looked for: there is one, and it stands on the old base.
    """
    last = max((index for index, step in enumerate(steps) if step.action == "push"), default=-1)
    return tuple(step for step in steps[: last + 1] if step.action != "tag")


def _check_ref(event: Event) -> None:
    """A branch's event is about a branch, and a tag's about a tag."""
    prefix = _REFS.get(event.kind)
    if prefix is not None and event.ref != prefix + (event.name or ""):
        raise No(f'"{shown(event.ref or "")}" is no {_WORD[event.kind]}')


def _matched(event: Event, triggers: Sequence[Trigger]) -> tuple[str, Paths]:
    """Which glob of the first trigger that answers the event's name matches, and what is left for the run to look at.

    Raises:
        No: none answers; why the one that came closest does not.
    """
    name = (event.pull.target if event.pull else event.name) or ""
    what = f'{_WORD[event.kind]} "{shown(name)}"'
    no = ""
    for trigger in triggers:
        found = _first(trigger.names, name)
        excepted = _first(trigger.except_, name)
        if found is None:
            continue
        if excepted is not None:
            no = f"{what} is excepted by {excepted}"
        elif not trigger.paths or event.files is None:
            return f"{what} matches {found}", trigger.paths
        elif touched := _touched(event.files, trigger.paths):
            return f"{what} matches {found}, and {shown(touched)} is touched", ()
        else:
            no = f"{what} matches {found}, and no file is touched that matches {', '.join(trigger.paths)}"
    names = dict.fromkeys(glob for trigger in triggers for glob in trigger.names)
    raise No(no or f"{what} matches none of: {', '.join(names)}")


def _first(globs: Sequence[str], name: str) -> str | None:
    return next((glob for glob in globs if matches(glob, name)), None)


def _touched(files: Sequence[str], paths: Paths) -> str | None:
    """The first file that one of the globs matches."""
    return next((file for file in files if _first(paths, file) is not None), None)


def _check_commit(event: Event) -> None:
    """It says what to build; of an image's event the steps say it."""
    if event.kind is EventKind.IMAGE:
        return
    if event.kind is EventKind.PULL_REQUEST:
        if event.pull is None or event.pull.head is None:
            raise No("nothing to build: it is not open")
        if event.pull.branch is None:
            raise No("nothing to build: the payload does not say which branch it brings")
        return
    if event.commit is None:
        raise No("nothing to build: the event has no commit")
    if not COMMIT.fullmatch(event.commit):
        raise No(f'nothing to build: "{shown(event.commit)}" is no commit')


def check_id(event: Event, pipeline: Pipeline) -> None:
    """It is the repository itself, and not another one that got its name."""
    # What we start ourselves is of the repository that ci.yml names, and no forge has said its id.
    if pipeline.repository_id in {None, event.repository_id} or event.kind in BY_NAME | {EventKind.IMAGE}:
        return
    has = f"has the id {shown(event.repository_id)}" if event.repository_id else "comes without an id"
    raise No(
        f"{shown(event.forge)}/{event.repository} {has}, and ci.yml says {pipeline.repository_id}:"
        " another repository may have taken its name"
    )


def a(event: Event) -> str:
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
