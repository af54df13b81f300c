"""A command in, its exit code out: for whatever ci.yml has no action of its own.

In a container it may be anybody's: the image's, or the repository's. On the runner itself it is a file that the
operators put there. Nobody but its author knows whether it may run twice: unless ci.yml says so, it is begun once.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Literal, Self

import pydantic

from chalicelib.errors import NeedsAttention, StepErrored, StepFailed
from chalicelib.model import Json, StepResult, StepStatus
from chalicelib.when import When
from runner import bases, commands, contract, operators, shell, trees
from runner.containers import Ended
from runner.context import Context, Image
from runner.fields import ImageReference, Words, complaint, shape
from runner.stopping import Stopped, Stopping, Why

NEEDS_IMAGE = True
DOES = ("run {run[0]}", "in {image}")

_KEY = "script"
_MOST_REASON = 1000
# For what it has to put right before it goes.
_GRACE_S = 2
_HALF_DONE = "it may have done a part of its work"
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_SIGNALLED = 128

Enact = Callable[[Stopping], None]
"""Runs it to its end, and raises what is to be said of a bad one."""


class Settings(commands.Limited):
    """`script: {run: [/opt/deploy, live], timeout: 10m, retry: never}`.

    Args:
        on: runner = `run` begins with the name of a file in the operators' directory of the machine.
        image: one that the pipeline built, or any other.
        retry: safe = it may run again from its beginning after it was interrupted.
        when: failure = only where a step before it failed.
    """

    run: Words
    on: Literal["container", "runner"] = "container"
    image: ImageReference | None = None
    network: Literal["none", "internet"] = "internet"
    retry: Literal["never", "safe"] = "never"
    when: When = When.SUCCESS

    @pydantic.model_validator(mode="after")
    def _is_a_file(self) -> Self:
        if self.on == "runner" and not _FILE_NAME.fullmatch(self.run[0]):
            raise complaint(f"{shape(self.run[0])}: on the runner, `run` begins with the name of an operators' script")
        return self

    @pydantic.model_validator(mode="after")
    def _has_services_in_a_container(self) -> Self:
        if self.on == "runner" and self.services:
            raise complaint("services run beside a container: leave `services` out, or `on: runner`")
        return self

    @staticmethod
    def may_lack_image(form: Mapping[str, Json]) -> bool:
        """Whether the compiled settings can do without a build's image; they may name any other."""
        return bool(form["on"] == "runner")


def run(settings: Settings, context: Context) -> StepResult:
    """Run it, and judge by its exit code."""
    started_at = context.now()
    secrets = commands.secrets_of(settings, context)
    ready = on_runner if settings.on == "runner" else in_container
    if settings.retry == "safe":
        with ready(settings, context, secrets) as enact:
            enact(context.stopping)
    else:
        once(settings, context, lambda: ready(settings, context, secrets))
    return StepResult("script", StepStatus.PASSED, started_at, context.now())


# --- where ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def in_container(settings: Settings, context: Context, secrets: Mapping[str, str]) -> Iterator[Enact]:
    """A container of its own, in which the repository's tree lies where the run has a repository."""
    image = image_of(settings, context)
    source = context.job.source
    tree = trees.check_out(source, context) if source else None
    folder = trees.PLACE if tree else None
    with commands.container(settings, context, settings.run, image, secrets, folder) as made:
        if tree:
            trees.lay(tree, made.container, context)

        def enact(stopping: Stopping) -> None:
            judge(settings, context, commands.watch(settings, context, made, stopping, asked_grace_s=_GRACE_S))

        yield enact


def image_of(settings: Settings, context: Context) -> Image:
    """What an earlier step built under this name, or else a registry's."""
    if settings.image is None or settings.image in context.images:
        return context.image(settings.image)
    return Image(settings.image, bases.fetch(settings.image, context))


@contextlib.contextmanager
def on_runner(settings: Settings, context: Context, secrets: Mapping[str, str]) -> Iterator[Enact]:
    """A process of this machine, in an empty folder, with nothing of the runner's environment."""
    name, *arguments = settings.run
    script = operators.script(context.operators, name)
    folder = context.folder / f"script-{context.index}"
    folder.mkdir(exist_ok=True)
    image = context.images.get(settings.image or "")
    own = {**operators.environment(folder), **settings.environment, **secrets, **contract.environment(context, image)}

    def enact(stopping: Stopping) -> None:
        limit_s = min(settings.timeout, context.remaining_s())
        try:
            code = shell.follow(
                (str(script), *arguments),
                context.log.write,
                env=own,
                folder=folder,
                timeout_s=limit_s,
                stopping=stopping,
                grace_s=_GRACE_S,
            )
        except shell.TimedOut:
            ended = Ended(_SIGNALLED, out_of_memory=False, timed_out_s=limit_s)
        except OSError as error:
            raise StepFailed(f"{script} cannot be started: {error.strerror}; does its first line say #!?") from error
        else:
            ended = Ended(code if code >= 0 else _SIGNALLED - code, out_of_memory=False)
        judge(settings, context, ended)

    yield enact


def judge(settings: Settings, context: Context, ended: Ended) -> None:
    """It has come to a good end.

    Raises:
        StepFailed: too slow, too much memory, or its exit code is not 0.
        StepErrored: somebody else than us killed it.
    """
    commands.check_limits("the script", settings, ended, context.log.tail())
    commands.check_code("the script", ended, context.log.tail())


# --- how often ------------------------------------------------------------------------------------


def once(settings: Settings, context: Context, ready: Callable[[], AbstractContextManager[Enact]]) -> None:
    """Run it, or tell what came of it when an earlier claim ran it.

    Raises:
        NeedsAttention: nobody knows how far it came.
    """
    seen = context.journal.observed(_KEY)
    if seen is None and context.journal.begun(_KEY):
        raise needs_attention(settings, context, "was interrupted")
    if seen is None:
        with ready() as enact:
            context.stopping.check()
            context.journal.intend(_KEY, needs_image=False)
            begin(settings, context, enact)
    elif seen["failed"] is not None:
        raise StepFailed(str(seen["failed"]))


def begin(settings: Settings, context: Context, enact: Enact) -> None:
    """Run it for the only time, and write down what came of it."""
    try:
        with to_the_end(context) as stopping:
            enact(stopping)
    except StepFailed as failure:
        context.journal.observe(_KEY, failed=str(failure)[:_MOST_REASON])
        raise
    except StepErrored as error:
        raise needs_attention(settings, context, f"was interrupted ({error})") from error
    except Stopped as stopped:
        stopped.add_note(f"`{' '.join(settings.run)}` was interrupted: {_HALF_DONE}")
        context.log.line(f"the script was interrupted: {_HALF_DONE}")
        raise
    context.journal.observe(_KEY, failed=None)


@contextlib.contextmanager
def to_the_end(context: Context) -> Iterator[Stopping]:
    """A wish to stop that leaves out those that can wait for the script's end.

    One that would hand it to another runner: that one could not go on. One for the sake of a newer run, which may come
    when the script has just begun: then this run does not give way any more.
    """
    own = Stopping()

    def forward() -> None:
        why = context.stopping.why
        if why in {Why.HANDED_BACK, Why.SUPERSEDED}:
            context.log.line("this run is to stop, and waits for the script: it must not be begun twice")
        elif why is not None:
            own.ask(why)

    with context.stopping.telling(forward):
        yield own


def needs_attention(settings: Settings, context: Context, what: str) -> NeedsAttention:
    command = " ".join(settings.run)
    return NeedsAttention(f"needs attention: `{command}` {what}; {_HALF_DONE}; look, then `tau redrive {context.run}`")
