"""A working copy, or an image's name, in; the image up with its services until Ctrl-C, and the exit code out."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import cast

from chalicelib.config import Config
from chalicelib.errors import BadInput
from chalicelib.graph import TAU
from chalicelib.model import Event, EventKind, Job, Notify, Provider, Source, Step
from chalicelib.pinning import UNKNOWN
from chalicelib.reports.words import clean
from runner import actions, commands, images
from runner.actions import test as testing
from runner.laptop import alone, copies, jobs, ports
from runner.laptop.copies import Asked
from runner.laptop.jobs import Trimmed
from runner.laptop.machine import (
    ERRORED,
    FAILED,
    PASSED,
    STOPPED,
    Done,
    How,
    Left,
    Machine,
    enacted,
    only_one,
    system_of,
    until_stopped,
)
from runner.laptop.ports import Chosen
from runner.laptop.screen import Endless, summary
from runner.laptop.stand_ins import StandIns
from runner.laptop.standing import WORD, Standing
from runner.outcome import Ended, Halted

_COMMAND = "tau up"
# What a test has of its own, beside what every command's container has.
_OF_TESTS = testing.Settings.model_fields.keys() - commands.Limited.model_fields.keys()
_OPEN = {"network": "internet"}


def up_here(asked: Asked, wishes: Sequence[Chosen], machine: Machine) -> int:
    """Build what a working copy has and keep it up; or an image, where `asked.wish.pipeline` is the name of one.

    Raises:
        TauError: it could not begin.
    """
    standing = Standing(asked.wish.pipeline, wishes)
    how = How(action=partial(_action, standing), capped=Endless)
    is_pipeline = any(one.name == asked.wish.pipeline for one in asked.config.pipelines)
    work = partial(_of_copy if is_pipeline else _of_image, asked, wishes, machine, how)
    try:
        done = until_stopped(work, machine, _COMMAND)
    except Left:
        return STOPPED
    if done is None or isinstance(done.outcome, Halted):
        stood = standing.stood.is_set()
        machine.say("all of it is gone" if stood else "stopped before it was up")
        return PASSED if stood else STOPPED
    if isinstance(done.outcome, Ended):
        for line in summary(done.outcome.steps):
            machine.say(line)
    return FAILED if done.code == FAILED else ERRORED


def _action(standing: Standing, word: str) -> ModuleType:
    # It has what a module of an action has.
    return cast(ModuleType, standing) if word == WORD else actions.find(word)


def _of_copy(asked: Asked, wishes: Sequence[Chosen], machine: Machine, how: How) -> Done:
    stand_ins = StandIns(machine.folder / "stand-ins", machine.environ, machine.stopping)
    copy = stand_ins.look(asked.path)
    # Another than that of `tau run`, which may be wanted while this stands.
    system = system_of(copy.folder, asked.wish.pipeline, WORD)
    with only_one(machine.folder, system, _COMMAND):
        given = alone.Given(machine.environ)
        trimmed = copies.job_of(asked, copy, partial(to_stand, wishes), stand_ins, given, machine.say, whose=system)
        return enacted(trimmed.job, system, machine, how)


def _of_image(asked: Asked, wishes: Sequence[Chosen], machine: Machine, how: How) -> Done:
    name = asked.wish.pipeline
    ports.check(wishes, ())
    check_named(name, asked.config, asked.where)
    system = system_of(machine.folder, name, WORD)
    with only_one(machine.folder, system, _COMMAND):
        job = jobs.readable(_job_of_image(name, asked.config), alone.Given(machine.environ).has)
        return enacted(job, system, machine, how)


def check_named(name: str, config: Config, where: str) -> None:
    """A name that is no pipeline's is an image's: by how it is written, or because this engine has one of that name.

    A single word is never fetched: a pipeline's misspelt name may be an image of anybody's.

    Raises:
        BadInput: it is neither.
    """
    if "/" in name or ":" in name or images.has(images.connect(), name):
        return
    names = [one.name for one in config.pipelines]
    near = difflib.get_close_matches(name, names, 1)
    hint = f'did you mean "{near[0]}"?' if near else f"there are: {', '.join(names)}"
    shown = clean(name)
    raise BadInput(
        f"{where} has no pipeline {shown} ({hint}), and this engine has no image of that name."
        f" To have an image fetched, write its tag too: {shown}:latest"
    )


def to_stand(wishes: Sequence[Chosen], job: Job) -> Trimmed:
    """The job that builds what the first test is of, and keeps that up instead of testing it.

    Raises:
        BadInput: nothing says which image that would be; or a port is wished for that can be none of its.
    """
    test = next((step for step in job.steps if step.action == "test"), None)
    builds = tuple(step for step in job.steps[: job.steps.index(test) if test else None] if step.action == "build")
    if not builds:
        raise BadInput(f"{job.pipeline} builds no image to start: name an image instead, `tau up IMAGE`")
    if test is None and len(builds) > 1:
        named = ", ".join(str(step.settings["image"]) for step in builds)
        raise BadInput(f"{job.pipeline} builds {named} and tests none of them: nothing says which is to be started")
    settings = test.settings if test else {"image": builds[-1].settings["image"], **_OPEN}
    ports.check(wishes, settings.get("services", ()))
    up = Step(WORD, {name: held for name, held in settings.items() if name not in _OF_TESTS})
    return Trimmed(replace(job, steps=(*builds, up), operators=(), announces=False, paths=()), ())


def _job_of_image(name: str, config: Config) -> Job:
    """A job of no repository, that only keeps up an image."""
    nowhere = Source(TAU, name, "")
    event = Event(TAU, Provider.TAU, name, EventKind.MANUAL, None, name=name, commit=UNKNOWN)
    return Job(
        pipeline=name,
        event=event,
        steps=(Step(WORD, {"fetched": name, **_OPEN}),),
        source=nowhere,
        sources={},
        registries=config.registries,
        lock=name,
        notify=Notify((), "never"),
        operators=(),
        config="",
    )
