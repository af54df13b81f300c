"""A command of ci.yml in; how it ended in a container of the built image out, and whose fault a bad end is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

import pydantic

from chalicelib.errors import StepErrored, StepFailed
from chalicelib.reports.words import duration, size
from runner import containers, contract
from runner.containers import Ended
from runner.context import Context, Image
from runner.ending import Limits
from runner.fields import Duration, ImageName, SecretName, Size, VariableName
from runner.stopping import Stopping

_KILLED = 137


class Limited(pydantic.BaseModel):
    """What the settings of every action that runs a command have, whatever they call the command.

    Args:
        network: none = what the image itself starts is all that can be reached.
        secrets: variable -> name of the secret whose value it gets.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    image: ImageName | None = None
    timeout: Duration = 1800
    memory: Size = 2 * 1024**3
    network: Literal["none", "internet"] = "none"
    environment: Mapping[VariableName, str] = pydantic.Field(default_factory=dict)
    secrets: Mapping[VariableName, SecretName] = pydantic.Field(default_factory=dict)


class WithSecrets(Protocol):
    """Settings that name secrets."""

    @property
    def secrets(self) -> Mapping[str, str]: ...


def secrets_of(settings: WithSecrets, context: Context) -> Mapping[str, str]:
    """The values of the step's secrets, by variable or id.

    Raises:
        StepFailed: the event comes from a fork.
        MissingSecret: one of them is not there.
    """
    if settings.secrets and context.job.event.fork:
        raise StepFailed("this comes from a fork, and no secret is ever given to a fork's code")
    return {variable: context.secret(name) for variable, name in settings.secrets.items()}


@contextlib.contextmanager
def container(
    settings: Limited,
    context: Context,
    words: tuple[str, ...],
    image: Image,
    secrets: Mapping[str, str],
    folder: str | None = None,
) -> Iterator[str]:
    """The command's container, which has not started; it and its network are gone afterwards.

    Args:
        words: the command.
        secrets: the values, by variable.
        folder: where it starts; None = where the image says.
    """
    name = f"tau-{context.run.lower()}-{context.epoch}-{context.index}"
    wanted = containers.Wanted(
        image=image.id,
        command=words,
        environment={**settings.environment, **secrets, **contract.environment(context, image)},
        folder=folder,
        memory_bytes=settings.memory,
        labels=context.labels,
        name=name,
    )
    with (
        _network(settings, context, name) as network,
        containers.created(context.docker, wanted, network) as made,
    ):
        yield made


def _network(settings: Limited, context: Context, name: str) -> AbstractContextManager[str]:
    """None, where only itself can be reached, or one of its own with a way out."""
    if settings.network == "none":
        return nullcontext("none")
    return containers.own_network(context.docker, name, context.labels)


def watch(settings: Limited, context: Context, made: str, stopping: Stopping, *, asked_grace_s: int = 0) -> Ended:
    """Run it to its end, which is the timeout's, or the run's, at the latest.

    Args:
        asked_grace_s: how long it may go on after SIGTERM when somebody has asked for its end.
    """
    limits = Limits(min(settings.timeout, context.remaining_s()), asked_grace_s=asked_grace_s)
    return containers.watch(context.docker, made, context.log, limits, stopping)


def check_limits(what: str, settings: Limited, ended: Ended, tail: tuple[str, ...]) -> None:
    """It took no more time and memory than it was given.

    Args:
        what: what it is called in a sentence: `the tests`.

    Raises:
        StepFailed: it did.
    """
    if ended.timed_out_s is not None:
        raise StepFailed(f"{what} took longer than {duration(ended.timed_out_s)} and had to be stopped", tail)
    if ended.out_of_memory:
        raise StepFailed(f"{what} ran out of memory (limit {size(settings.memory)})", tail)


def check_code(what: str, ended: Ended, tail: tuple[str, ...], evidence: object = None) -> None:
    """It exited with 0.

    Args:
        evidence: what it left, if that shows that it came to its end by itself.

    Raises:
        StepFailed: with something else.
        StepErrored: it was killed by somebody else than us.
    """
    if ended.code == _KILLED and not evidence:
        raise StepErrored(f"{what} was killed from outside, neither by us nor for memory")
    if ended.code:
        raise StepFailed(f"{what} exited with {ended.code}", tail)
