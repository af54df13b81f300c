"""The built image and a command in, its exit code out: for whatever ci.yml has no action of its own.

Nobody but its author knows whether it may run twice. Unless ci.yml says so, it is begun once, whatever happens to us.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

from chalicelib.errors import NeedsAttention, StepErrored, StepFailed
from chalicelib.model import StepResult, StepStatus
from runner import commands
from runner.context import Context
from runner.stopping import Stopped, Stopping, Why

NEEDS_IMAGE = True
DOES = ("run a script", "in {image}")

_KEY = "script"
_MOST_REASON = 1000
# For what it has to put right before it goes.
_GRACE_S = 2
_HALF_DONE = "it may have done a part of its work"


class Settings(commands.Command):
    """`script: {command: [/opt/deploy, live], timeout: 10m, retry: never}`.

    Args:
        retry: safe = it may run again from its beginning after it was interrupted.
    """

    network: Literal["none", "internet"] = "internet"
    retry: Literal["never", "safe"] = "never"


def run(settings: Settings, context: Context) -> StepResult:
    """Run the command in a container of its own and judge by its exit code."""
    started_at = context.now()
    if settings.retry == "safe":
        with commands.container(settings, context) as container:
            enact(settings, context, container, context.stopping)
    else:
        once(settings, context)
    return StepResult("script", StepStatus.PASSED, started_at, context.now())


def enact(settings: Settings, context: Context, container: str, stopping: Stopping) -> None:
    """Run it.

    Raises:
        StepFailed: too slow, too much memory, or its exit code is not 0.
        StepErrored: the engine broke, or somebody else killed it.
    """
    ended = commands.watch(settings, context, container, stopping, asked_grace_s=_GRACE_S)
    commands.check_limits("the script", settings, ended, context.log.tail())
    commands.check_code("the script", ended, context.log.tail())


def once(settings: Settings, context: Context) -> None:
    """Run it, or tell what came of it when an earlier claim ran it.

    Raises:
        NeedsAttention: nobody knows how far it came.
    """
    seen = context.journal.observed(_KEY)
    if seen is None and context.journal.begun(_KEY):
        raise needs_attention(settings, context, "was interrupted")
    if seen is None:
        with commands.container(settings, context) as container:
            context.stopping.check()
            context.journal.intend(_KEY, needs_image=False)
            begin(settings, context, container)
    elif seen["failed"] is not None:
        raise StepFailed(str(seen["failed"]))


def begin(settings: Settings, context: Context, container: str) -> None:
    """Run it for the only time, and write down what came of it."""
    try:
        with to_the_end(context) as stopping:
            enact(settings, context, container, stopping)
    except StepFailed as failure:
        context.journal.observe(_KEY, failed=str(failure)[:_MOST_REASON])
        raise
    except StepErrored as error:
        raise needs_attention(settings, context, f"was interrupted ({error})") from error
    except Stopped as stopped:
        stopped.add_note(f"`{' '.join(settings.command)}` was interrupted: {_HALF_DONE}")
        context.log.line(f"the script was interrupted: {_HALF_DONE}")
        raise
    context.journal.observe(_KEY, failed=None)


@contextlib.contextmanager
def to_the_end(context: Context) -> Iterator[Stopping]:
    """A wish to stop that leaves out the one that would hand the script to another runner: that one could not go on."""
    own = Stopping()

    def forward() -> None:
        why = context.stopping.why
        if why is Why.HANDED_BACK:
            context.log.line("this runner is to stop, and waits for the script: it must not be begun twice")
        elif why is not None:
            own.ask(why)

    with context.stopping.telling(forward):
        yield own


def needs_attention(settings: Settings, context: Context, what: str) -> NeedsAttention:
    command = " ".join(settings.command)
    return NeedsAttention(f"needs attention: `{command}` {what}; {_HALF_DONE}; look, then `tau redrive {context.run}`")
