"""A step's context in; the environment that every command of ci.yml gets, out. Pure.

docs/ci.yml.md has the same table, and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chalicelib.model import StepResult, StepStatus
from runner.context import Context, Image

Value = Callable[[Context, Image | None], str | None]


def environment(context: Context, image: Image | None) -> dict[str, str]:
    """Every variable of the contract; empty where this event has no value for it.

    What a pusher chose is a value here and nothing else: no part of a command, a path or a name is made of it.

    Args:
        image: the one that the step is about.
    """
    # No environment can hold a zero byte; no ref, commit or image that a run gets to has one.
    return {name: (value(context, image) or "").replace("\0", "") for name, value in VARIABLES.items()}


def broken(context: Context) -> StepResult | None:
    """The step that did not pass, where one did not."""
    return next((result for result in context.so_far if result.status is not StepStatus.PASSED), None)


def _named(kind: str, context: Context) -> str | None:
    event = context.job.event
    return event.name if (event.ref or "").startswith(f"refs/{kind}/") else None


def _repository(context: Context) -> str | None:
    return context.job.source.repository if context.job.source else None


def _digest(image: Image | None) -> str | None:
    """`registry/name@sha256:…` at the first registry that has it."""
    found = next(iter(image.digests.items()), None) if image else None
    return f"{found[0]}/{image.name}@{found[1]}" if image and found else None


VARIABLES: Mapping[str, Value] = {
    "TAU_RUN": lambda context, _: context.run,
    "TAU_PIPELINE": lambda context, _: context.job.pipeline,
    "TAU_EVENT": lambda context, _: str(context.job.event.kind),
    "TAU_FORGE": lambda context, _: context.job.source.forge if context.job.source else None,
    "TAU_REPOSITORY": lambda context, _: _repository(context),
    "TAU_REF": lambda context, _: context.job.event.ref,
    "TAU_BRANCH": lambda context, _: _named("heads", context),
    "TAU_TAG": lambda context, _: _named("tags", context),
    "TAU_COMMIT": lambda context, _: context.job.event.commit,
    "TAU_PUSHER": lambda context, _: context.job.event.pusher.login or context.job.event.pusher.name,
    "TAU_IMAGE": lambda _, image: image.name if image else None,
    "TAU_IMAGE_DIGEST": lambda _, image: _digest(image),
    "TAU_RESULT": lambda context, _: str(found.status) if (found := broken(context)) else str(StepStatus.PASSED),
    "TAU_REASON": lambda context, _: found.reason if (found := broken(context)) else None,
}
"""What each variable holds. An image of another name than the step's own build has no digest here."""
